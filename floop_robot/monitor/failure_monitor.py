"""FailureMonitor: what robots reported of their work, and which of it goes badly. Trials and explorers mine this, no truth."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice

import msgspec

from floop_robot.spec.records import EpisodeEnd, Label, ObjectReport, OutcomeCode

WINDOW = 20
"""Latest episodes of a class that tell whether it goes badly …"""
RESOLVED_WINDOW = 80
"""… and, once it does, whether it has healed: a policy of 88 % shows 38 of 40 in one look of eight, 76 of 80 in one of
thirty."""
LEAST_FAILURES = 3
"""One or two failures happen to every policy."""
FAILING_SUCCESS = 0.75
"""Live success below this makes a class failing tasks; three failures among eleven episodes of a 97 % policy are a 1 in
200 coincidence."""
RESOLVED_SUCCESS = 0.95
"""A class that went badly stays failing tasks until live success reaches this: half mended is no reason to look away."""
MAX_STORED_REPORTS = 200
"""Latest reports of a class that scenarios are drawn from; older ones speak of work long done."""
MAX_EARLY_LABELS = 1000
"""Labels that are kept for an episode that has not come yet; most of them speak of aborted ones, which never do."""

_Key = tuple[str, str, int]
"""Robot, boot, episode."""


class _Episode(msgspec.Struct):
    """An episode, whether its class was failing before it, and what it came to."""

    key: _Key
    success: bool
    report: ObjectReport
    was_failing: bool


class _ClassHistory:
    def __init__(self) -> None:
        self.done: deque[_Episode] = deque(maxlen=MAX_STORED_REPORTS + RESOLVED_WINDOW)
        self.failing = False

    @property
    def outcomes(self) -> list[bool]:
        """Of the latest `WINDOW` episodes."""
        return self._latest(WINDOW, len(self.done))

    @property
    def reports(self) -> Iterator[ObjectReport]:
        """Of the latest `MAX_STORED_REPORTS` episodes, oldest first."""
        return (done.report for done in islice(self.done, max(0, len(self.done) - MAX_STORED_REPORTS), None))

    def add(self, key: _Key, success: bool, report: ObjectReport) -> None:
        self.done.append(_Episode(key, success, report, self.failing))
        self._judge(len(self.done))

    def correct(self, key: _Key, success: bool) -> bool:
        """Change an outcome and judge again from there on; returns whether anything changed.

        Judged again is what has its whole window before it: without the failures that are forgotten, a class would
        seem to have healed.
        """
        for place, done in enumerate(self.done):
            if done.key == key and done.success != success:
                done.success = success
                first = max(place, RESOLVED_WINDOW) if len(self.done) == self.done.maxlen else place
                self.failing = self.done[first].was_failing
                for end in range(first + 1, len(self.done) + 1):
                    self.done[end - 1].was_failing = self.failing
                    self._judge(end)
                return True
        return False

    def _judge(self, end: int) -> None:
        outcomes = self._latest(RESOLVED_WINDOW if self.failing else WINDOW, end)
        failures = outcomes.count(False)
        success = 1.0 - failures / len(outcomes)
        if self.failing:
            self.failing = success < RESOLVED_SUCCESS
        else:
            self.failing = failures >= LEAST_FAILURES and success < FAILING_SUCCESS

    def _latest(self, count: int, end: int) -> list[bool]:
        return [done.success for done in islice(self.done, max(0, end - count), end)]


class FailureMonitor:
    """Live outcomes and reports by perceived object class; pure, rebuilt from the journal after a restart."""

    def __init__(self, trained: Collection[str], modelled: Collection[str]) -> None:
        """`trained`: classes of the training work; `modelled`: classes with a model in the catalogue."""
        self._trained, self._modelled = frozenset(trained), frozenset(modelled)
        self._classes: dict[str, _ClassHistory] = {}
        self._early: OrderedDict[_Key, bool] = OrderedDict()
        self.episodes = 0
        """How many episodes were taken in."""
        self.changes = 0
        """How often what it says may have changed: by an episode, or by a label."""

    def observe(self, record: EpisodeEnd | Label, robot: str = "", boot_id: str = "") -> None:
        """Take in the end of a robot's episode, or a label that corrects one, from the stream of `robot` and `boot_id`.

        Aborted episodes say nothing about a policy, whatever their label. The last label on an episode counts.
        """
        if isinstance(record, Label):
            self._correct((robot, record.episode_boot_id, record.episode), record.success)
        elif record.outcome is not OutcomeCode.ABORTED:
            self.episodes += 1
            self.changes += 1
            key = (robot, boot_id, record.episode)
            success = self._early.pop(key, record.outcome is OutcomeCode.SUCCESS)
            self._classes.setdefault(record.work.object_class, _ClassHistory()).add(key, success, record.work)

    def _correct(self, key: _Key, success: bool) -> None:
        for log in self._classes.values():
            if any(done.key == key for done in log.done):
                self.changes += log.correct(key, success)
                return
        self._early[key] = success
        self._early.move_to_end(key)
        if len(self._early) > MAX_EARLY_LABELS:
            self._early.popitem(last=False)

    @property
    def failing(self) -> tuple[str, ...]:
        """Classes that go badly and can be simulated."""
        return self._select(lambda name, log: log.failing and name in self._modelled)

    @property
    def without_model(self) -> tuple[str, ...]:
        """Classes that go badly and cannot be simulated: only a canary can tell."""
        return self._select(lambda name, log: log.failing and name not in self._modelled)

    @property
    def resolved(self) -> tuple[str, ...]:
        """Classes that nothing was trained on at first and that go well now: once in the suite, they stay."""
        return self._select(lambda name, log: not log.failing and name in self._modelled - self._trained)

    def success(self, object_class: str) -> tuple[int, int]:
        """Successes and episodes of a class within the window."""
        outcomes = self._classes.get(object_class, _ClassHistory()).outcomes
        return outcomes.count(True), len(outcomes)

    def reports(self, classes: Iterable[str]) -> tuple[ObjectReport, ...]:
        """What robots perceived of these classes, oldest first within each."""
        return tuple(report for name in classes if name in self._classes for report in self._classes[name].reports)

    def _select(self, wanted: Callable[[str, _ClassHistory], bool]) -> tuple[str, ...]:
        return tuple(sorted(name for name, log in self._classes.items() if wanted(name, log)))
