"""Fitter: fits the simulator to the robots on which known tasks fail, one after the other, and reports each fit.

A known object of known size that fails shows a hidden change: friction, force, delay or camera. New classes and sizes
need no fit: there the policy has not learned the task yet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import dropwhile

import msgspec
import numpy as np

from floop_envs.scenarios import TRAINING_CLASSES, is_known
from floop_robot.core import RecordSink
from floop_robot.fit.fit_robot import fit_robot
from floop_robot.fit.recorded_episodes import RecordedEpisode, RecordedEpisodes
from floop_robot.fit.replay import Replayer
from floop_robot.monitor.fleet_summary import FleetSummary
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import Source
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.simulator_fit import SimulatorFit, fit_event, fits_of
from floop_robot.spec.tasks import get_task
from floop_robot.spec.wall_clock import WallClock
from floop_robot.stream.codec import Block

log = logging.getLogger(__name__)

MIN_FAILURES = 2
"""Failures of a robot at known tasks that are enough for a first fit. One failure may be chance, so two are needed."""
RECENT = 16
"""Latest episodes of a robot among which the first failure is looked for: what came before it is of another world."""
AGAIN_FAILURES = 3
"""More failures after which a robot is fitted again."""
MAX_FITS = 6
"""Fits of a robot while a class fails."""


class FitterCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a fitter did since it started."""

    fits: int = 0
    fitting: str = ""
    """The robot that is being fitted; empty if none is."""
    awaited: bool = False
    """Whether the loop waits for it: the robot has no fit yet, and only known tasks fail."""
    rows: int = 0
    """Policy steps simulated."""


class _RobotProgress(msgspec.Struct):
    """How far the fits of a robot are."""

    fits: int = 0
    latest: RecordedEpisode | None = None
    """The last episode that the last of them read."""
    fit: SimulatorFit | None = None
    """The one reported last."""


class _FitUnderWay(msgspec.Struct):
    worlds: Iterator[SimulatorFit | None]
    unreported: SimulatorFit | None = None
    """The best so far, unless it was reported."""


class Fitter:
    """Feed it the journal and call `step` in a loop; owned by one thread."""

    def __init__(
        self, task: str, robot: str, events: RecordSink, seed: int, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """`robot`: the arm's model; `events`: takes the fits. Raises `UnknownName`."""
        self._replayer, self._events, self._clock_ns = Replayer(task, robot), events, WallClock(clock_ns)
        self._rng = np.random.default_rng((seed, 0xF17))
        self._contract = ids_of(get_task(task), load_robot(robot)).contract
        self._fits = 0
        self.begin_with(FleetSummary())

    def begin_with(self, summary: FleetSummary) -> None:
        """Take over what the journal says of the fleet, instead of what was known."""
        self.failures, self._episodes = summary.failures, RecordedEpisodes()
        self._progress: dict[str, _RobotProgress] = {fit.robot: _RobotProgress(1, None, fit) for fit in summary.fits}
        """By robot that fails."""
        self._under_way: dict[str, _FitUnderWay] = {}
        """By robot, in the order in which they began; one of them at most has no fit yet."""
        self._fitting = ""

    def take(self, block: Block, *, is_counted: bool = False) -> None:
        """Take in a block of the journal; a restarted fitter finds its fits there, too.

        `is_counted`: by the summary that it began with, so that only its rows are new. Rows of another contract mean
        something else: robots that send them are not fitted.
        """
        if not is_counted:
            self.failures.take(block.info, block.ends, block.labels)
        if block.info.ids.contract == self._contract:
            self._episodes.take(block)
        if block.info.source is Source.FITTER:
            for fit in fits_of(block.events):
                known = self._progress.get(fit.robot)
                if known is None or known.latest is None:
                    known = self._progress[fit.robot] = self._now(fit.robot, 1)
                known.fit = fit

    def step(self) -> bool:
        """Simulate one more world of a fit; False when nothing is to be fitted.

        A robot without a fit goes first, before others' fits become better: any is better than none.
        """
        self._begin()
        self._fitting = min(self._under_way, key=self._has_fit, default="")
        if not self._fitting:
            return False
        fit = self._under_way[self._fitting]
        try:
            fit.unreported = next(fit.worlds) or fit.unreported
            is_due = not self._has_fit(self._fitting)
        except StopIteration:
            del self._under_way[self._fitting]
            is_due = True
        if is_due and fit.unreported is not None:
            self._report(fit.unreported)
            fit.unreported = None
        return True

    def _report(self, fit: SimulatorFit) -> None:
        self._progress[fit.robot].fit = fit
        self._fits += 1
        self._events.put(fit_event(fit, self._clock_ns()))
        before, after = fit.mismatch_nominal, fit.mismatch
        log.info("%s: %d episodes, mismatch %.2f instead of %.2f", fit.robot, fit.episodes, after, before)

    @property
    def counts(self) -> FitterCounts:
        """What it did since it started."""
        awaited = bool(self._fitting) and not self._has_fit(self._fitting) and not self._new_classes()
        return FitterCounts(fits=self._fits, fitting=self._fitting, awaited=awaited, rows=self._replayer.rows)

    def close(self) -> None:
        """Close the simulator."""
        self._replayer.close()

    def _begin(self) -> None:
        """Begin the fit of a robot that has none, or another one if none is under way."""
        if not all(map(self._has_fit, self._under_way)):
            return
        failing = self._failing_robots()
        kept = failing | self._under_way.keys()
        self._progress = {robot: before for robot, before in self._progress.items() if robot in kept}
        known = {robot: self._progress.get(robot, _RobotProgress()) for robot in failing - self._under_way.keys()}
        for robot in sorted(known, key=lambda name: (known[name].fits, name)):
            before = known[robot]
            if before.fits >= MAX_FITS or (before.fits and self._under_way):
                continue
            episodes = self._since_failure(robot)
            fresh = _after(before.latest, episodes)
            failures = sum(not episode.success for episode in episodes[len(episodes) - fresh :])
            if failures >= (AGAIN_FAILURES if before.fits else MIN_FAILURES):
                self._progress[robot] = now = self._now(robot, before.fits + 1)
                now.fit = before.fit
                # One that tells little is made anew with all episodes: its 32 worlds are a poor summary of many places.
                earlier = before.fit if before.fit and before.fit.explains and before.fit.knows_place else None
                fresh = fresh if earlier else len(episodes)
                worlds = fit_robot(self._replayer, robot, episodes, self._rng, earlier, fresh)
                self._under_way[robot] = _FitUnderWay(worlds)
                return

    def _has_fit(self, robot: str) -> bool:
        return self._progress[robot].fit is not None

    def _new_classes(self) -> set[str]:
        return set(self.failures.failing) - set(TRAINING_CLASSES)

    def _now(self, robot: str, fits: int) -> _RobotProgress:
        latest = self._since_failure(robot)[-1:]
        return _RobotProgress(fits, latest[0] if latest else None)

    def _failing_robots(self) -> set[str]:
        """Robots on which a known class fails."""
        found: set[str] = set()
        for name in set(self.failures.failing) & set(TRAINING_CLASSES):
            found |= set(self.failures.failing_robots(name) or self._episodes.robots)
        return found

    def _since_failure(self, robot: str) -> Sequence[RecordedEpisode]:
        """The robot's episodes at known tasks from the first failure of the latest on."""
        known = [episode for episode in self._episodes.of(robot) if is_known(episode.object)]
        return list(dropwhile(lambda episode: episode.success, known[-RECENT:]))


def _after(latest: RecordedEpisode | None, episodes: Sequence[RecordedEpisode]) -> int:
    """How many episodes came after `latest`; all if it is not among them."""
    return next((i for i, each in enumerate(reversed(episodes)) if each is latest), len(episodes))
