"""The whole loop in one process and in virtual time: explore, replay, learn, gate, deploy, watch. No sockets, no ROS.

`Loop.second` reads like the docstring of `core.py`; the parts are those that a fleet runs as processes. A virtual
second brings what a small fleet brings in a second. Gradient steps, trials and installation take no virtual time.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from floop_envs.seeds import Purpose
from floop_envs.shifts import get_shift
from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import InstallStage, Receipt
from floop_robot.deploy.command_order import CommandOrder
from floop_robot.deploy.deployment_controller import MANAGER_NAME, DeploymentController
from floop_robot.deploy.registry import JournalPosition, Origin, Publication, Registry
from floop_robot.deploy.registry.history import read_history
from floop_robot.deploy.tti import NoImprovement, TimeToImprovement, time_to_improvement
from floop_robot.explore.explorer import ANALOGY_SHARE, Explorer
from floop_robot.gate.executor import InProcessExecutor
from floop_robot.gate.gate import Gate
from floop_robot.gate.pybullet_worker import PyBulletRunner
from floop_robot.gate.seed_allocator import SeedAllocator
from floop_robot.learn.learner import ContinuousLearner
from floop_robot.learn.status import LearnerStatus
from floop_robot.services.fleet_manager import REGISTRY_FILE, baseline_path, live_episodes, live_labels
from floop_robot.services.learner import CHECKPOINT, build_algorithm, load_start_checkpoint
from floop_robot.sim.sim_world import SimWorld
from floop_robot.sim.simulated_robots import SimulatedRobots
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.spec.verdict import Verdict
from floop_robot.stream.memory_journal import JOURNAL_ID, MemoryFollower, MemoryJournal, MemorySink

START_NS = 1_700_000_000 * 1_000_000_000
"""Wall clock at which virtual time begins: an arbitrary one, so that runs repeat."""


class LoopConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run of the loop."""

    fleet: FloopConfig = FloopConfig()
    """The fleet that is simulated; its `run_dir` and ports are not used."""
    shift: str = ""
    """How the world changes (`floop_envs.shifts`); empty: not at all."""
    shift_at_s: int = 5
    """Virtual second at which it changes."""
    seconds: int = 60
    """Virtual seconds of the whole run."""
    robot_rows: int = 50
    """Transitions of all robots together in a virtual second."""
    explorer_rows: int = 300
    """Transitions of explorers in a virtual second."""
    analogy_share: float = ANALOGY_SHARE
    """Share of explorers' episodes on failing tasks that are made by analogy, at first."""
    until_improved: bool = True
    """Whether the run ends when live success is confirmed after the shift."""


class LoopProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What a virtual second brought."""

    second: int
    version: int
    """In production."""
    robot_successes: int
    robot_episodes: int
    failing: tuple[str, ...]
    learner: LearnerStatus
    candidate: Bundle | None
    """Offered to the gate in this second."""
    verdict: Verdict | None


class LoopResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    bundle: Bundle
    """In production at the end."""
    seconds: int
    accepted: int
    rejected: int
    inconclusive: int
    learner: LearnerStatus
    tti: TimeToImprovement | NoImprovement


class _Published:
    """Holds what the learner published last; a `core.WeightPublisher`."""

    def __init__(self, baseline: Bundle) -> None:
        self.live, self.version = baseline, 0
        self.offered: Bundle | None = None

    def weights(self, version: int, bundle: Bundle) -> None:
        self.live, self.version = bundle, version

    def candidate(self, bundle: Bundle) -> None:
        self.offered = bundle


class Loop:
    """The parts of a fleet in one process, wired; a context manager."""

    def __init__(self, config: LoopConfig, folder: Path) -> None:
        """Raises `FloopError` when the baseline, the task or the shift can't be used."""
        fleet = msgspec.structs.replace(config.fleet, run_dir=str(folder))
        if config.shift:
            get_shift(config.shift)
        self.config, self.now_s = config, 0.0
        self._rules = get_task(fleet.task)
        self._ids = ids_of(self._rules, load_robot(fleet.robot.model))
        self.journal = MemoryJournal()
        self._followers = {name: MemoryFollower(self.journal) for name in ("explorer", "gate", "deployment")}
        baseline = Bundle.load(baseline_path(fleet))
        self.published = _Published(baseline)
        self.version, self.actor = 0, baseline.actor()
        with contextlib.ExitStack() as opened:
            self._wire(fleet, folder, baseline, opened.callback)
            self._opened = opened.pop_all()

    def _wire(self, fleet: FloopConfig, folder: Path, baseline: Bundle, close: Callable[..., object]) -> None:
        sinks = {name: self._sink(fleet, name, Source.ROBOT) for name in fleet.robot_names}
        self.robots = SimulatedRobots(fleet.task, fleet.robot.model, sinks, fleet.seed, self.clock_ns)
        close(self.robots.close)
        self.explorer = Explorer(
            fleet.task,
            fleet.robot.model,
            self._sink(fleet, "explorer_1", Source.EXPLORER),
            SeedAllocator(folder / "explorer_seed", Purpose.EXPLORER, fleet.seed).next,
            analogy_share=0.0 if fleet.learner.algo == "ppo" else self.config.analogy_share,
            clock_ns=self.clock_ns,
        )
        close(self.explorer.close)
        checkpoint, _ = load_start_checkpoint(fleet)
        algorithm = build_algorithm(fleet, self._rules.spec, checkpoint.info.hidden)
        self.learner = ContinuousLearner(
            fleet.learner, self._rules.spec, self._ids, algorithm, MemoryFollower(self.journal), self.published,
            folder / CHECKPOINT, self._clock_s,
        )  # fmt: skip
        self.learner.start_from(checkpoint)
        executor = InProcessExecutor(PyBulletRunner(fleet.task, fleet.robot.model))
        close(executor.close)
        self.gate = Gate(fleet, executor, self._clock_s)
        self.registry = Registry(folder / REGISTRY_FILE)
        close(self.registry.close)
        self.controller = DeploymentController(self.registry, fleet.deploy, CommandOrder(self.registry))
        self.controller.publish(Publication(bundle=baseline, origin=Origin.BASELINE, who=MANAGER_NAME), START_NS)
        self._install()

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _clock_s(self) -> float:
        return self.now_s

    def clock_ns(self) -> int:
        """Virtual time as wall-clock nanoseconds."""
        return START_NS + round(self.now_s * 1e9)

    def _sink(self, fleet: FloopConfig, name: str, source: Source) -> MemorySink:
        return MemorySink(self.journal, StreamInfo(name, f"{name}-boot", fleet.task, self._ids, source))

    def second(self) -> LoopProgress:
        """One virtual second of the fleet."""
        is_shifted = bool(self.config.shift) and self.now_s >= self.config.shift_at_s
        world = SimWorld(self.config.shift if is_shifted else None)
        outcomes = self.robots.run(self.actor, self.version, world, self.config.robot_rows)
        for found in self._followers["explorer"].poll():
            self.explorer.failures.take(found.block.info, found.block.ends, found.block.labels)
        self._explore()
        self._learn()
        for found in self._followers["gate"].poll():
            self.gate.failures.take(found.block.info, found.block.ends, found.block.labels)
        candidate, verdict = self.published.offered, self._judge()
        self._watch()
        self._install()
        return LoopProgress(
            second=round(self.now_s),
            version=self.version,
            robot_successes=sum(outcomes),
            robot_episodes=len(outcomes),
            failing=self.gate.failures.failing,
            learner=self.learner.status,
            candidate=candidate,
            verdict=verdict,
        )

    def _explore(self) -> None:
        made, actor = 0, self.published.live.actor()
        while made < self.config.explorer_rows:
            made += self.explorer.explore(actor, self.published.version).steps

    def _learn(self) -> None:
        """Take the gradient steps that the rows pay for; then publish what is due."""
        while self.learner.step(0.0):
            pass
        self.now_s += 1.0
        self.learner.step(0.0)

    def _judge(self) -> Verdict | None:
        """Let the gate judge the newest candidate, unless it rests."""
        if self.published.offered is not None:
            self.gate.offer(self.published.offered.to_bytes())
            self.published.offered = None
        while True:
            if judged := self.gate.step(1.0):
                self.controller.submit(judged.bundle, judged.verdict, "gate", self.clock_ns())
                return judged.verdict
            if not self.gate.busy:
                return None

    def _watch(self) -> None:
        """Let the deployment monitor see what robots achieved; it confirms, rolls back or lets the next one follow."""
        found, now_ns = self._followers["deployment"].poll(), self.clock_ns()
        episodes = [episode for each in found for episode in live_episodes(each.block, each.id, now_ns)]
        labels = [label for each in found for label in live_labels(each.block)]
        position = JournalPosition(self._followers["deployment"].position, JOURNAL_ID)
        self.controller.observe(episodes, position, now_ns, labels)

    def _install(self) -> None:
        """Every robot acts on the version in production from now on."""
        self.controller.take_announcements()
        if (version := self.controller.production) == self.version:
            return
        bundle = self.registry.bundle(version)
        self.version, self.actor = version, bundle.actor()
        self.gate.set_incumbent(bundle)
        for robot in self.config.fleet.robot_names:
            receipt = Receipt(robot=robot, version=version, stage=InstallStage.ACTING, since_received_s=0.0)
            self.registry.telemetry.record_receipt(receipt, self.clock_ns())

    @property
    def improved(self) -> bool:
        """Whether live success after the shift is confirmed."""
        return isinstance(self._tti(), TimeToImprovement)

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
            tti=self._tti(),
        )

    def _tti(self) -> TimeToImprovement | NoImprovement:
        shifted_ns = START_NS + self.config.shift_at_s * 1_000_000_000
        return time_to_improvement(
            read_history(self.registry.path),
            lambda episode: bool(self.config.shift) and episode.observed_ns > shifted_ns,
            self.config.fleet.robot_names,
            self.config.fleet.deploy,
        )


def run_loop(config: LoopConfig, on_progress: Callable[[LoopProgress], object] = lambda _: None) -> LoopResult:
    """Run the loop for `config.seconds`, or until it improved.

    `on_progress` is called after each virtual second; when it returns something true, the run ends there.
    """
    with tempfile.TemporaryDirectory(prefix="floop-loop-") as folder, Loop(config, Path(folder)) as loop:
        for _ in range(config.seconds):
            if on_progress(loop.second()) or (config.until_improved and loop.improved):
                break
        return loop.result()
