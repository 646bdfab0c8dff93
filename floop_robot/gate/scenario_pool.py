"""PairedScenarioPool: fresh scenarios for trials; the incumbent's episodes are run ahead while the gate is idle.

Every pair has a scenario seed of its own, used once. So no candidate is judged on scenarios that an earlier one was
selected on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_envs.seeds import scenario_of
from floop_robot.core import EpisodeJob, EpisodeOutcome, Executor, ScenarioSource
from floop_robot.gate.suites import Suite, SuiteCounts
from floop_robot.spec.scenario import Scenario

PREFETCH = {Suite.REGRESSION: 48, Suite.TARGET: 36}
"""Pairs kept ready: what the first trials of a new task take. More would be thrown away with the next incumbent."""


class PreparedPair(msgspec.Struct, frozen=True):
    """A scenario, and the incumbent's episode in it, done or on its way."""

    suite: Suite
    seed: int
    scenario: Scenario
    incumbent: Future[EpisodeOutcome]


class ScenarioMixture:
    """Draws from one of several sources, each with its share."""

    def __init__(self, sources: list[tuple[ScenarioSource, float]]) -> None:
        self._sources = [source for source, _ in sources]
        shares = np.array([share for _, share in sources])
        self._shares = shares / shares.sum()

    def sample(self, rng: np.random.Generator) -> Scenario:
        """Draw a scenario."""
        return self._sources[int(rng.choice(len(self._sources), p=self._shares))].sample(rng)


class PairedScenarioPool:
    """Hands out prepared pairs for one incumbent; owned by one thread."""

    def __init__(self, executor: Executor, next_seed: Callable[[], int]) -> None:
        self._executor, self._next_seed = executor, next_seed
        self._incumbent = ""
        self._sources: dict[Suite, ScenarioSource] = {}
        self._classes: dict[Suite, tuple[str, ...]] = {}
        self._ready: dict[Suite, deque[PreparedPair]] = {suite: deque() for suite in Suite}
        self._known = _nothing()
        self._candidate, self._achieved = "", _nothing()
        """A candidate, and its (successes, episodes) in pairs of the present classes."""

    @property
    def known(self) -> SuiteCounts:
        """What this incumbent achieved, in pairs used and pairs prepared."""
        sums = {s: sum(map(_counts, self._ready[s]), self._known[s]).tolist() for s in Suite}
        return SuiteCounts(tuple(sums[Suite.REGRESSION]), tuple(sums[Suite.TARGET]))

    def set_incumbent(self, policy: str) -> None:
        """Pairs are run with this policy (already known to the executor) from now on."""
        if policy == self._incumbent:
            return
        known = dict(self._achieved) if policy == self._candidate else _nothing()
        for suite in Suite:
            self._drop(suite)
        self._incumbent, self._known, self._candidate = policy, known, ""

    def note(self, policy: str, achieved: SuiteCounts) -> None:
        """What a candidate achieved counts once it is the incumbent, unless the classes have changed by then."""
        self._candidate = policy
        self._achieved = {Suite.REGRESSION: np.array(achieved.regression), Suite.TARGET: np.array(achieved.target)}

    def set_source(self, suite: Suite, source: ScenarioSource | None, classes: tuple[str, ...]) -> None:
        """Draw the pairs of a suite from `source`; pairs prepared for other `classes` are dropped."""
        if classes != self._classes.get(suite):
            self._drop(suite)
            self._classes[suite] = classes
        if source is None:
            self._sources.pop(suite, None)
        else:
            self._sources[suite] = source

    def take(self, suite: Suite) -> PreparedPair:
        """Return the next pair of a suite; its seed will never be used again."""
        while self._ready[suite]:
            prepared = self._ready[suite].popleft()
            if not _has_failed(prepared.incumbent):
                return prepared
        return self._make(suite)

    def used(self, prepared: PreparedPair) -> None:
        """Both episodes of a pair that was taken are over."""
        self._known[prepared.suite] = self._known[prepared.suite] + _counts(prepared)

    def give_back(self, prepared: PreparedPair) -> None:
        """Return a pair that no candidate has seen."""
        self._ready[prepared.suite].appendleft(prepared)

    @property
    def waiting(self) -> int:
        """How many of the incumbent's episodes are under way."""
        return sum(not p.incumbent.done() for queue in self._ready.values() for p in queue)

    def prepare(self) -> bool:
        """Start one more of the incumbent's episodes if a worker is free; whether it did."""
        if not self._incumbent or self.waiting >= self._executor.width:
            return False
        for suite in self._sources:
            if len(self._ready[suite]) < PREFETCH[suite]:
                self._ready[suite].append(self._make(suite))
                return True
        return False

    def _make(self, suite: Suite) -> PreparedPair:
        seed = self._next_seed()
        scenario = scenario_of(self._sources[suite], seed)
        future = self._executor.submit([EpisodeJob(self._incumbent, scenario)])[0]
        return PreparedPair(suite, seed, scenario, future)

    def _drop(self, suite: Suite) -> None:
        self._known[suite], self._achieved[suite] = np.zeros(2, np.int64), np.zeros(2, np.int64)
        while self._ready[suite]:
            self._ready[suite].pop().incumbent.cancel()


def _counts(prepared: PreparedPair) -> NDArray[np.int64]:
    """(successes, episodes) of the incumbent that this pair knows of."""
    future = prepared.incumbent
    if not future.done() or _has_failed(future):
        return np.zeros(2, np.int64)
    return np.array([future.result().success, 1], np.int64)


def _has_failed(future: Future[EpisodeOutcome]) -> bool:
    return future.cancelled() or (future.done() and future.exception() is not None)


def _nothing() -> dict[Suite, NDArray[np.int64]]:
    return {suite: np.zeros(2, np.int64) for suite in Suite}
