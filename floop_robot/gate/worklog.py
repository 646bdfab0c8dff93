"""WorkLog: what robots reported of their work, and which of it goes badly. Trials and explorers mine this, no truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable

from floop_robot.spec.records import EpisodeEnd, Outcome, WorkReport

WINDOW = 20
"""Latest episodes of a class that count."""
LEAST_FAILURES = 3
"""One or two failures happen to every policy."""
HEALTHY_SUCCESS = 0.75
"""Live success below this makes a class focus work; three failures among eleven episodes of a 97 % policy are a 1 in
200 coincidence."""
HEALED_SUCCESS = 0.92
"""A class that went badly stays focus work until live success reaches this: half mended is no reason to look away."""
KEPT_REPORTS = 200
"""Reports per class that scenarios are drawn from; older ones speak of work long done."""


class _ClassLog:
    def __init__(self) -> None:
        self.outcomes: deque[bool] = deque(maxlen=WINDOW)
        self.reports: deque[WorkReport] = deque(maxlen=KEPT_REPORTS)
        self.failing = False

    def add(self, end: EpisodeEnd) -> None:
        self.outcomes.append(end.outcome is Outcome.SUCCESS)
        self.reports.append(end.work)
        failures = self.outcomes.count(False)
        success = 1.0 - failures / len(self.outcomes)
        if self.failing:
            self.failing = success < HEALED_SUCCESS
        else:
            self.failing = failures >= LEAST_FAILURES and success < HEALTHY_SUCCESS


class WorkLog:
    """Live outcomes and reports by perceived object class; pure, rebuilt from the journal after a restart."""

    def __init__(self, trained: Collection[str], modelled: Collection[str]) -> None:
        """`trained`: classes of the training work; `modelled`: classes with a model in the catalogue."""
        self._trained, self._modelled = frozenset(trained), frozenset(modelled)
        self._classes: dict[str, _ClassLog] = {}
        self.episodes = 0
        """How many episodes were taken in."""

    def observe(self, end: EpisodeEnd) -> None:
        """Take in the end of a robot's episode; aborted ones say nothing about a policy."""
        if end.outcome is Outcome.ABORTED:
            return
        self.episodes += 1
        self._classes.setdefault(end.work.object_class, _ClassLog()).add(end)

    @property
    def focus(self) -> tuple[str, ...]:
        """Classes that go badly and can be simulated."""
        return self._select(lambda name, log: log.failing and name in self._modelled)

    @property
    def without_model(self) -> tuple[str, ...]:
        """Classes that go badly and cannot be simulated: only a canary can tell."""
        return self._select(lambda name, log: log.failing and name not in self._modelled)

    @property
    def adopted(self) -> tuple[str, ...]:
        """Classes that nothing was trained on at first and that go well now: once in the suite, they stay."""
        return self._select(lambda name, log: not log.failing and name in self._modelled - self._trained)

    def success(self, object_class: str) -> tuple[int, int]:
        """Successes and episodes of a class within the window."""
        log = self._classes.get(object_class, _ClassLog())
        return log.outcomes.count(True), len(log.outcomes)

    def reports(self, classes: Iterable[str]) -> tuple[WorkReport, ...]:
        """What robots perceived of these classes, oldest first within each."""
        return tuple(r for name in classes if name in self._classes for r in self._classes[name].reports)

    def _select(self, wanted: Callable[[str, _ClassLog], bool]) -> tuple[str, ...]:
        return tuple(sorted(name for name, log in self._classes.items() if wanted(name, log)))
