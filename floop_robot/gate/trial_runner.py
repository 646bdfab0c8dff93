"""TrialRunner: runs the episodes that a trial asks for, and writes the verdict."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_futures

import msgspec

from floop_robot.core import EpisodeJob, EpisodeOutcome, Executor
from floop_robot.gate.interfaces import EpisodeFailed
from floop_robot.gate.scenario_pool import PairedScenarioPool, PreparedPair
from floop_robot.gate.suites import Pair, Suite
from floop_robot.gate.trial import Trial, TrialFinding
from floop_robot.spec.verdict import Decision, Verdict

MAX_LOST_PAIRS = 3
"""Pairs whose incumbent's episode could not be run that a trial replaces by others, before it gives up."""


class _RunningPair(msgspec.Struct, frozen=True):
    prepared: PreparedPair
    candidate: Future[EpisodeOutcome]


class TrialRunner:
    """One candidate's trial, from its first episode to its verdict; steppable, so that its owner can serve sockets."""

    def __init__(
        self,
        trial: Trial,
        scenario_pool: PairedScenarioPool,
        executor: Executor,
        candidate: str,
        incumbent_version: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`candidate`: the policy's name, already known to the executor; `clock`: steady seconds."""
        self.trial = trial
        self._scenario_pool, self._executor = scenario_pool, executor
        self._candidate, self._incumbent_version = candidate, incumbent_version
        self._started = dict.fromkeys(Suite, 0)
        # Bounded: one pair more than there are workers, so that none of them waits.
        self._running: deque[_RunningPair] = deque()
        self._first_seed = 0
        self._clock, self._begun_s = clock, clock()
        self._failed: TrialFinding | None = None
        self._lost = 0

    def step(self, timeout_s: float) -> Verdict | None:
        """Wait up to `timeout_s` for the next pair; returns the verdict once there is one."""
        self._top_up()
        if self._running and self._finding is None:
            head = self._running[0]
            futures = (head.candidate, head.prepared.incumbent)
            if wait_futures(futures, timeout_s).not_done:
                return None
            self._running.popleft()
            self._consume(head)
        return self._close() if self._finding else None

    def run(self) -> Verdict:
        """Step until the verdict."""
        while (verdict := self.step(1.0)) is None:
            pass
        return verdict

    def cancel(self) -> None:
        """Abandon the trial; pairs that the candidate has not begun go back to the pool."""
        for each in reversed(self._running):
            if each.candidate.cancel():
                self._scenario_pool.give_back(each.prepared)
        self._running.clear()

    @property
    def is_void(self) -> bool:
        """Whether it ended because the incumbent could not be run: it tells nothing about the candidate."""
        return self._lost > MAX_LOST_PAIRS

    @property
    def _finding(self) -> TrialFinding | None:
        return self._failed or self.trial.finding

    def _top_up(self) -> None:
        while len(self._running) <= self._executor.width and not self._failed:
            suite = self.trial.next_suite(self._started)
            if suite is None:
                return
            prepared = self._scenario_pool.take(suite)
            self._first_seed = self._first_seed or prepared.seed
            self._started[suite] += 1
            candidate = self._executor.submit([EpisodeJob(self._candidate, prepared.scenario)])[0]
            self._running.append(_RunningPair(prepared, candidate))

    def _consume(self, done: _RunningPair) -> None:
        try:
            incumbent = done.prepared.incumbent.result()
        except EpisodeFailed as error:
            self._lose(done, error)
            return
        try:
            candidate = done.candidate.result()
        except EpisodeFailed as error:
            self._failed = TrialFinding(Decision.REJECTED, f"its episodes cannot be run: {error}")
            return
        self._scenario_pool.used(done.prepared)
        self.trial.observe(Pair(done.prepared.suite, done.prepared.seed, candidate, incumbent))

    def _lose(self, done: _RunningPair, error: EpisodeFailed) -> None:
        """Replace a pair whose incumbent's episode failed."""
        done.candidate.cancel()
        self._started[done.prepared.suite] -= 1
        self._lost += 1
        if self.is_void:
            self._failed = TrialFinding(Decision.INCONCLUSIVE, f"the incumbent's episodes cannot be run: {error}")

    def _close(self) -> Verdict:
        finding = self._finding
        assert finding is not None
        self.cancel()
        return Verdict(
            decision=finding.decision,
            reason=finding.reason,
            candidate_sha256=self._candidate,
            incumbent_version=self._incumbent_version,
            suites=self.trial.suites(),
            seed=self._first_seed,
            alpha=self.trial.stakes.improvement,
            duration_s=self._clock() - self._begun_s,
            canary=finding.canary,
        )
