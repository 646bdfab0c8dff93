"""FailureMonitor: which classes of objects fail on the robots, and which no longer do.

Gate, learner, explorers and fleet manager each hold one and feed it from the journal, so all agree. Only what a robot
reported counts: perceived class and outcome, never the simulator's truth.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from itertools import islice

import msgspec

from floop_robot.spec.records import ActMode, EpisodeEnd, Label, ObjectReport, OutcomeCode, Source, StreamInfo

WINDOW = 20
"""Latest episodes of a class that decide whether it fails."""
RESOLVED_WINDOW = 80
"""Latest episodes of a failing class that decide whether it is resolved.

A policy of 88 % shows 38 successes of 40 in one look of eight, but 76 of 80 in one of thirty.
"""
MIN_FAILURES = 3
"""One or two failures happen to every policy."""
FAILING_SUCCESS = 0.75
"""A class fails when its live success is below this: chance 1 in 200 for a policy of 97 % within eleven episodes."""
RESOLVED_SUCCESS = 0.95
"""A failing class is resolved when its live success reaches this."""
MAX_STORED_REPORTS = 200
"""Latest reports of a class that scenarios are drawn from; older ones may describe another world."""
MAX_EARLY_LABELS = 1000
"""Labels kept for episodes that have not arrived; most belong to aborted episodes, which never count."""
MAX_CLASSES = 256
"""Classes that are remembered; the one reported longest ago goes first. A robot can name any class."""

EpisodeKey = tuple[str, str, int]
"""Robot, boot, episode."""


class _CountedEpisode(msgspec.Struct):
    """An episode that counts, and whether its class was failing before it."""

    key: EpisodeKey
    success: bool
    report: ObjectReport | None
    was_failing: bool


class _ClassHistory:
    """The latest episodes of one class."""

    def __init__(self) -> None:
        self.episodes: deque[_CountedEpisode] = deque(maxlen=MAX_STORED_REPORTS + RESOLVED_WINDOW)
        self.failing = False

    def add(self, key: EpisodeKey, success: bool, report: ObjectReport | None) -> None:
        self.episodes.append(_CountedEpisode(key, success, report, self.failing))
        if success is self.failing:  # another failure of what fails, or success of what succeeds, changes nothing
            self.failing = _fails(self.latest(RESOLVED_WINDOW if self.failing else WINDOW), self.failing)

    def correct(self, key: EpisodeKey, success: bool) -> bool:
        """Change an outcome and decide again from there on; returns whether anything changed.

        Episodes whose window is partly forgotten are not decided again: their class would seem resolved.
        """
        for index, episode in enumerate(self.episodes):
            if episode.key == key and episode.success != success:
                episode.success = success
                is_full = len(self.episodes) == self.episodes.maxlen
                self._decide_from(max(index, RESOLVED_WINDOW) if is_full else index)
                return True
        return False

    def latest(self, count: int) -> list[bool]:
        """Outcomes of the latest `count` episodes, in any order."""
        return [episode.success for episode in islice(reversed(self.episodes), count)]

    def reports(self) -> list[ObjectReport]:
        """Reports of the latest `MAX_STORED_REPORTS` episodes, oldest first."""
        latest = islice(self.episodes, max(0, len(self.episodes) - MAX_STORED_REPORTS), None)
        return [episode.report for episode in latest if episode.report is not None]

    def _decide_from(self, first: int) -> None:
        episodes = list(self.episodes)
        failing = episodes[first].was_failing
        for end in range(first + 1, len(episodes) + 1):
            episodes[end - 1].was_failing = failing
            window = RESOLVED_WINDOW if failing else WINDOW
            failing = _fails([episode.success for episode in episodes[max(0, end - window) : end]], failing)
        self.failing = failing


def _fails(outcomes: Sequence[bool], was_failing: bool) -> bool:
    failures = outcomes.count(False)
    success = 1.0 - failures / len(outcomes)
    if was_failing:
        return success < RESOLVED_SUCCESS
    return failures >= MIN_FAILURES and success < FAILING_SUCCESS


class FailureMonitor:
    """Live outcomes and reports by perceived object class; pure: a restarted process rebuilds it from the journal."""

    def __init__(self) -> None:
        self._classes: OrderedDict[str, _ClassHistory] = OrderedDict()
        self._early: OrderedDict[EpisodeKey, bool] = OrderedDict()
        self.episodes = 0
        """How many episodes were counted."""
        self.changes = 0
        """Rises whenever an episode or a label may have changed an answer."""

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
            self._correct((robot, record.episode_boot_id, record.episode), record.success)
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

    def _correct(self, key: EpisodeKey, success: bool) -> None:
        for history in self._classes.values():
            if any(episode.key == key for episode in history.episodes):
                self.changes += history.correct(key, success)
                return
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
        """Classes that fail now."""
        return tuple(sorted(name for name, history in self._classes.items() if history.failing))

    @property
    def resolved(self) -> tuple[str, ...]:
        """Classes that succeed: they never failed, or no longer do."""
        return tuple(sorted(n for n, h in self._classes.items() if not h.failing and any(h.latest(WINDOW))))

    def success(self, object_class: str) -> tuple[int, int]:
        """Successes and episodes of a class within `WINDOW`."""
        outcomes = self._classes[object_class].latest(WINDOW) if object_class in self._classes else []
        return outcomes.count(True), len(outcomes)

    def reports(self, classes: Iterable[str]) -> tuple[ObjectReport, ...]:
        """What robots perceived of these classes, oldest first within each."""
        return tuple(report for name in classes if name in self._classes for report in self._classes[name].reports())
