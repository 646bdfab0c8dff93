"""FailureMonitor: which classes of objects fail on the robots, on all or on some, and which no longer do.

Gate, learner, explorers and fleet manager each hold one and feed it from the journal, so all agree. Only what a robot
reported counts: perceived class and outcome, never the simulator's truth.

One rule (`OutcomeHistory`) judges a class over the fleet, and on each robot. A robot that fails alone, while the others
succeed, is named (`failing_robots`). Its episodes say nothing about the others, so the fleet's count leaves them out.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

import msgspec

from floop_robot.monitor.outcome_history import WINDOW, EpisodeKey, HistoryState, OutcomeHistory
from floop_robot.spec.records import (
    ActMode,
    EpisodeEnd,
    Label,
    ObjectReport,
    OutcomeCode,
    RobotReport,
    Source,
    StreamInfo,
)

RESOLVED_WINDOW = 80
"""Latest episodes of a class that fails over the fleet that decide whether it is resolved.

It takes 78 successes. Within 250 episodes a policy of 98 % is sure to show them, one of 93 % in half of the cases
(`benchmarks/failure_monitor.py`).
"""
ROBOT_RESOLVED_WINDOW = 12
"""The same on one robot, whose episodes are few: 12 successes in a row.

A policy of 88 % shows them in one look of five, and 19 of 20 in two of seven. One of 97 % needs 15 episodes.
"""
MAX_STORED_REPORTS = 200
"""Latest reports of a class that scenarios are drawn from; older ones may describe another world."""
MAX_EARLY_LABELS = 1000
"""Labels kept for episodes that have not arrived; most belong to aborted episodes, which never count."""
MAX_CLASSES = 256
"""Classes that are remembered; the one reported longest ago goes first. A robot can name any class."""
ACTIVE_WITHIN = 100
"""A robot that had none of so many latest episodes of a class tells nothing of today: it left, or is drained."""
OTHERS_EPISODES = 10
"""Episodes of the others that tell whether a robot fails alone."""
OTHERS_SUCCESS = 0.9
"""Success of the others from which a robot fails alone. Robots that are all alike, at 71 %, hardly ever show it."""
MAX_ROBOT_HISTORIES = 4096
"""Pairs of class and robot that are remembered: 256 robots and 16 classes."""


class ClassState(msgspec.Struct, array_like=True):
    """The latest episodes of one class as plain values."""

    fleet: HistoryState
    robots: dict[str, HistoryState]
    reports: list[RobotReport]
    has_failed: bool
    count: int
    seen: dict[str, int]


class MonitorState(msgspec.Struct, array_like=True):
    """A `FailureMonitor` as plain values: who starts from it need not read what it was counted from."""

    classes: dict[str, ClassState]
    """The one reported longest ago first."""
    pairs: list[tuple[str, str]]
    early: list[tuple[EpisodeKey, bool]]
    episodes: int
    changes: int


class _ClassHistory:
    """The latest episodes of one class."""

    def __init__(self) -> None:
        self.fleet = OutcomeHistory(RESOLVED_WINDOW, MAX_STORED_REPORTS + RESOLVED_WINDOW)
        self.robots: dict[str, OutcomeHistory] = {}
        self.reports: deque[RobotReport] = deque(maxlen=MAX_STORED_REPORTS)
        self.has_failed = False
        self._count = 0
        self._seen: dict[str, int] = {}
        """By robot: number of its latest episode."""

    def state(self) -> ClassState:
        robots = {robot: history.state() for robot, history in self.robots.items()}
        reports, seen = list(self.reports), dict(self._seen)
        return ClassState(self.fleet.state(), robots, reports, self.has_failed, self._count, seen)

    def restore(self, state: ClassState) -> _ClassHistory:
        self.fleet.restore(state.fleet)
        self.robots = {robot: _robot_history().restore(each) for robot, each in state.robots.items()}
        self.reports.extend(state.reports)
        self.has_failed, self._count, self._seen = state.has_failed, state.count, state.seen
        return self

    def add(self, key: EpisodeKey, success: bool, report: ObjectReport | None) -> None:
        robot, was_failing = key[0], self.failing
        self._count += 1
        self._seen[robot] = self._count
        own = self.robots.setdefault(robot, _robot_history())
        own.add(key, success)
        self.fleet.leave_out(alone := self._alone)
        if robot not in alone:
            self.fleet.add(key, success)
        if report is not None:
            self.reports.append(RobotReport(robot, report))
        if self.failing and not was_failing:
            self._begin_to_fail()

    def _begin_to_fail(self) -> None:
        """Keep only the reports that showed it: older ones are of the world before."""
        self.has_failed = True
        self.reports = deque(list(self.reports)[-WINDOW:], maxlen=MAX_STORED_REPORTS)

    def correct(self, key: EpisodeKey, success: bool) -> bool:
        own, was_failing = self.robots.get(key[0]), self.failing
        changed = own is not None and own.correct(key, success)
        changed = self.fleet.correct(key, success) or changed
        if self.failing and not was_failing:
            self._begin_to_fail()
        return changed

    def forget(self, robot: str) -> None:
        self.robots.pop(robot, None)
        self._seen.pop(robot, None)

    def __contains__(self, key: EpisodeKey) -> bool:
        return key in self.fleet or (key[0] in self.robots and key in self.robots[key[0]])

    @property
    def failing(self) -> bool:
        return self.fleet.failing or any(map(self._fails_on, self.robots))

    @property
    def failing_robots(self) -> tuple[str, ...]:
        return () if self.fleet.failing else self._alone

    @property
    def _alone(self) -> tuple[str, ...]:
        """Robots that fail while the latest episodes of the others succeed."""
        failing = tuple(sorted(filter(self._fails_on, self.robots)))
        if not failing:
            return ()
        others = self.fleet.latest(WINDOW, without=failing)
        is_alone = len(others) >= OTHERS_EPISODES and others.count(True) >= OTHERS_SUCCESS * len(others)
        return failing if is_alone else ()

    def _fails_on(self, robot: str) -> bool:
        return self.robots[robot].failing and self._count - self._seen[robot] < ACTIVE_WITHIN


def _robot_history() -> OutcomeHistory:
    return OutcomeHistory(ROBOT_RESOLVED_WINDOW, 2 * WINDOW)


class FailureMonitor:
    """Live outcomes and reports by perceived object class; pure: a restarted process goes on from its `state`."""

    def __init__(self) -> None:
        self._classes: OrderedDict[str, _ClassHistory] = OrderedDict()
        self._pairs: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._early: OrderedDict[EpisodeKey, bool] = OrderedDict()
        self.episodes = 0
        """How many episodes were counted."""
        self.changes = 0
        """Rises whenever an episode or a label may have changed an answer."""

    def state(self) -> MonitorState:
        """Everything it knows; shares its lists until it goes on, so encode it at once."""
        classes = {name: history.state() for name, history in self._classes.items()}
        return MonitorState(classes, list(self._pairs), list(self._early.items()), self.episodes, self.changes)

    @classmethod
    def from_state(cls, state: MonitorState) -> FailureMonitor:
        """Go on where another one was."""
        monitor = cls()
        monitor._classes.update((name, _ClassHistory().restore(each)) for name, each in state.classes.items())
        monitor._pairs.update(dict.fromkeys(state.pairs))
        monitor._early.update(state.early)
        monitor.episodes, monitor.changes = state.episodes, state.changes
        return monitor

    def take(self, info: StreamInfo, ends: Iterable[EpisodeEnd], labels: Iterable[Label] = ()) -> None:
        """Take in a block of one stream; only robots count, since explorers fail by design."""
        if info.source is Source.ROBOT:
            for end in ends:
                self.observe(end, info.robot, info.boot_id)
            for label in labels:
                self.observe(label, info.robot)

    def observe(self, record: EpisodeEnd | Label, robot: str = "", boot_id: str = "") -> None:
        """Take in the end of a robot's episode, or a label that corrects one.

        Aborted episodes and sampled actions tell nothing about a policy. The last label of an episode counts.
        """
        if isinstance(record, Label):
            key = (robot, record.episode_boot_id, record.episode)
            if not self.correct(key, record.success):
                self._expect(key, record.success)
        elif record.outcome is not OutcomeCode.ABORTED and record.act_mode is ActMode.MEAN:
            key = (robot, boot_id, record.episode)
            success = self._early.pop(key, record.outcome is OutcomeCode.SUCCESS)
            self.count(key, record.object.object_class, success, record.object)

    def count(self, key: EpisodeKey, object_class: str, success: bool, report: ObjectReport | None = None) -> None:
        """Count an episode whose labels are already applied."""
        self.episodes += 1
        self.changes += 1
        self._classes.setdefault(object_class, _ClassHistory()).add(key, success, report)
        self._classes.move_to_end(object_class)
        if len(self._classes) > MAX_CLASSES:
            self._classes.popitem(last=False)
        self._remember((object_class, key[0]))

    def _remember(self, pair: tuple[str, str]) -> None:
        self._pairs[pair] = None
        self._pairs.move_to_end(pair)
        if len(self._pairs) > MAX_ROBOT_HISTORIES:
            (name, robot), _ = self._pairs.popitem(last=False)
            if name in self._classes:
                self._classes[name].forget(robot)

    def correct(self, key: EpisodeKey, success: bool) -> bool:
        """Change the outcome of an episode that still matters; returns whether there is such a one."""
        for history in self._classes.values():
            if key in history:
                self.changes += history.correct(key, success)
                return True
        return False

    def _expect(self, key: EpisodeKey, success: bool) -> None:
        self._early[key] = success
        self._early.move_to_end(key)
        if len(self._early) > MAX_EARLY_LABELS:
            self._early.popitem(last=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes that robots met, whatever came of it."""
        return tuple(sorted(self._classes))

    @property
    def failing(self) -> tuple[str, ...]:
        """Classes that fail now, on all robots or on some."""
        return tuple(sorted(name for name, history in self._classes.items() if history.failing))

    def failing_robots(self, object_class: str) -> tuple[str, ...]:
        """Robots that a class fails on while it succeeds on the others; () if there are none, or it fails on all."""
        return self._classes[object_class].failing_robots if object_class in self._classes else ()

    @property
    def resolved(self) -> tuple[str, ...]:
        """Classes that succeed: they never failed, or no longer do."""
        return tuple(sorted(n for n, h in self._classes.items() if not h.failing and any(h.fleet.latest(WINDOW))))

    def has_failed(self, object_class: str) -> bool:
        """Whether a class fails or has ever failed."""
        return object_class in self._classes and self._classes[object_class].has_failed

    def success(self, object_class: str) -> tuple[int, int]:
        """Successes and episodes of a class within `WINDOW`, without those of robots that fail alone."""
        outcomes = self._classes[object_class].fleet.latest(WINDOW) if object_class in self._classes else []
        return outcomes.count(True), len(outcomes)

    def reports(self, classes: Iterable[str]) -> tuple[RobotReport, ...]:
        """What robots perceived of these classes, oldest first within each: those that it fails on, if only some.

        Labels can name robots whose reports are forgotten. Then the reports of all robots stand in.
        """
        found: list[RobotReport] = []
        for name in classes:
            if name in self._classes:
                history = self._classes[name]
                failing = history.failing_robots
                only = [each for each in history.reports if each.robot in failing]
                found += only or history.reports
        return tuple(found)


def failing_name(object_class: str, robots: Iterable[str]) -> str:
    """How people call a class that fails, on all robots or on these: "box on robot_3"."""
    return f"{object_class} on {', '.join(robots)}" if (robots := tuple(robots)) else object_class
