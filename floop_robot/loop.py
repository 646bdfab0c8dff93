"""The whole loop in one process and in virtual time: explore, replay, learn, gate, deploy, watch. No sockets, no ROS.

`Loop.second` reads like the docstring of `core.py`; the parts are those that a fleet runs as processes. A virtual
second brings what a small fleet brings in a second. Installation takes no virtual time. Practice, gradient steps and
trials take none either, or the time of `LoopConfig.cores` cores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from floop_envs.shifts import get_shift
from floop_robot.core import Bundle, Verdict
from floop_robot.deploy.registry import JournalPosition, read_history
from floop_robot.deploy.tti import NoImprovement, TimeToImprovement, time_to_improvement
from floop_robot.loop_config import LoopConfig, LoopProgress, LoopResult
from floop_robot.loop_parts import START_NS, LoopParts
from floop_robot.services.fleet_manager import live_episodes, live_labels
from floop_robot.sim.sim_world import SimWorld
from floop_robot.stream.memory_journal import JOURNAL_ID

__all__ = ["Loop", "LoopConfig", "LoopProgress", "LoopResult", "run_loop"]


def run_loop(config: LoopConfig, on_progress: Callable[[LoopProgress], object] = lambda _: None) -> LoopResult:
    """Run the loop for `config.seconds`, or until it improved.

    `on_progress` is called after each virtual second; when it returns something true, the run ends there.
    """
    with tempfile.TemporaryDirectory(prefix="floop-loop-") as folder, Loop(config, Path(folder)) as loop:
        for _ in range(config.seconds):
            if on_progress(loop.second()) or (config.until_improved and isinstance(loop.tti(), TimeToImprovement)):
                break
        return loop.result()


class Loop(LoopParts):
    """A fleet in one process; a context manager."""

    def __init__(self, config: LoopConfig, folder: Path) -> None:
        """Raises `FloopError` when shift, task, baseline or checkpoint can't be used."""
        self._change_s = config.shift_at_s if config.shift and get_shift(config.shift) else float("inf")
        self._config = config
        self._candidate: Bundle | None = None
        self._verdict: Verdict | None = None
        self._explored = 0
        super().__init__(config, folder)

    def second(self) -> LoopProgress:
        """One virtual second of the fleet."""
        outcomes: list[bool] = []
        self._candidate, self._verdict, self._explored = None, None, 0
        for _ in range(round(1.0 / self.cores.slice_s)):
            outcomes += self._slice(self.cores.slice_s)
        return LoopProgress(
            second=round(self.now_s),
            version=self.version,
            robot_successes=sum(outcomes),
            robot_episodes=len(outcomes),
            failing=self.gate.failures.failing,
            learner=self.learner.status,
            candidate=self._candidate,
            verdict=self._verdict,
        )

    def _slice(self, slice_s: float) -> list[bool]:
        """A part of a second; returns the outcomes of the robots' episodes."""
        world = SimWorld(self._config.shift, self._config.shift_robots) if self.now_s >= self._change_s else SimWorld()
        outcomes = self.robots.run(self.actor, self.version, world, self._config.robot_rows * slice_s, self.calibration)
        self.now_s = round(self.now_s + slice_s, 3)
        self.cores.run({"explorer": self._explore, "learner": self._learn, "gate": self._judge, "fitter": self._fit})
        self._watch()
        self.install()
        return outcomes

    def _explore(self) -> bool:
        """An episode on the live weights, most of them where robots fail."""
        for found in self.to_explorer.poll():
            self.explorer.take(found.block)
        if not self.may_explore(self._explored):
            return False
        self._explored += self.explore()
        return True

    def _fit(self) -> bool:
        """One more world in which robots' failures are replayed, while known tasks fail."""
        for found in self.to_fitter.poll():
            self.fitter.take(found.block)
        return self._config.fit and self.fitter.step()

    def _learn(self) -> bool:
        """Take some of the gradient steps that the rows pay for; publish what is due."""
        has_work = self.learner.step(0.0) > 0
        if candidate := self.published.take_candidate():
            self._candidate = candidate
            self.gate.offer(candidate.to_bytes())
        return has_work

    def _judge(self) -> bool:
        """Let the gate judge the newest candidate, unless it rests."""
        for found in self.to_gate.poll():
            self.gate.take(found.block)
        if judged := self.gate.step(1.0):
            self._verdict = judged.verdict
            self.controller.submit(judged.bundle, judged.verdict, "gate", self.clock_ns())
        # Where computing takes no time, there is no idle time to prepare pairs in.
        return self.gate.busy or (self._config.cores > 0 and self.gate.prepares)

    def _watch(self) -> None:
        """Show the controller what robots achieved: it confirms, rolls back or lets the next version follow."""
        found, now_ns = self.to_deployment.poll(), self.clock_ns()
        episodes = [episode for each in found for episode in live_episodes(each.block, each.id, now_ns)]
        labels = [label for each in found for label in live_labels(each.block)]
        self.controller.observe(episodes, JournalPosition(self.to_deployment.position, JOURNAL_ID), now_ns, labels)

    def tti(self) -> TimeToImprovement | NoImprovement:
        """Virtual time from the first failure after the shift to confirmed live success."""
        fleet, shifted_ns = self._config.fleet, self._change_s * 1e9 + START_NS
        history, only = read_history(self.registry.path), self._config.shift_robots
        shifted = lambda e: e.observed_ns > shifted_ns and (not only or e.robot in only)  # noqa: E731
        return time_to_improvement(history, shifted, fleet.robot_names, fleet.deploy)

    def result(self) -> LoopResult:
        """How the run stands."""
        counts = self.gate.counts
        return LoopResult(
            bundle=self.registry.bundle(self.version),
            seconds=round(self.now_s),
            accepted=counts.accepted,
            rejected=counts.rejected,
            inconclusive=counts.inconclusive,
            learner=self.learner.status,
            tti=self.tti(),
        )
