"""The two suites of a trial, their pairs, and what came of them."""

from __future__ import annotations

import enum
import math

import msgspec

from floop_robot.core import EpisodeOutcome
from floop_robot.spec.verdict import SuiteResult
from floop_robot.stats.intervals import wilson

MIN_KNOWN_EPISODES = 20
"""Episodes of the incumbent from which on its own success counts as known."""


class Suite(enum.StrEnum):
    """What the scenarios of a pair are drawn from."""

    REGRESSION = "regression"
    """Known tasks."""
    TARGET = "target"
    """Failing tasks."""


class Pair(msgspec.Struct, frozen=True):
    """One scenario, both policies."""

    suite: Suite
    seed: int
    candidate: EpisodeOutcome
    incumbent: EpisodeOutcome

    @property
    def difference(self) -> int:
        """Candidate's success minus incumbent's: -1, 0 or 1."""
        return int(self.candidate.success) - int(self.incumbent.success)


class SuiteCounts(msgspec.Struct, frozen=True):
    """Successes and episodes of a policy, by suite."""

    regression: tuple[int, int] = (0, 0)
    target: tuple[int, int] = (0, 0)

    def success(self, suite: Suite) -> float | None:
        """Its success on a suite; None while too little is known."""
        successes, episodes = self._counts(suite)
        return successes / episodes if episodes >= MIN_KNOWN_EPISODES else None

    def estimate(self, suite: Suite) -> float:
        """Its success on a suite, by Laplace's rule: a half while nothing is known."""
        successes, episodes = self._counts(suite)
        return (successes + 1) / (episodes + 2)

    def _counts(self, suite: Suite) -> tuple[int, int]:
        return self.regression if suite is Suite.REGRESSION else self.target


def score(pairs: list[Pair]) -> str:
    """Successes and mean cycle times of both policies, for people."""
    ours, theirs = sum(p.candidate.success for p in pairs), sum(p.incumbent.success for p in pairs)
    our_s, their_s = mean_cycle_s([p.candidate for p in pairs]), mean_cycle_s([p.incumbent for p in pairs])
    cycle = "" if math.isnan(our_s) or math.isnan(their_s) else f", {our_s:.2f} s against {their_s:.2f} s"
    return f"{ours} of {len(pairs)} against {theirs}{cycle}"


def suite_result(name: str, pairs: list[Pair]) -> SuiteResult:
    """How both policies did in the pairs of a suite."""
    candidate, incumbent = [p.candidate for p in pairs], [p.incumbent for p in pairs]
    successes = sum(o.success for o in candidate)
    return SuiteResult(
        name=name,
        episodes=len(pairs),
        candidate_successes=successes,
        incumbent_successes=sum(o.success for o in incumbent),
        candidate_interval=wilson(successes, len(pairs)),
        candidate_cycle_s=mean_cycle_s(candidate),
        incumbent_cycle_s=mean_cycle_s(incumbent),
        candidate_interventions=sum(o.interventions for o in candidate),
        limit_violations=sum(o.limit_violations for o in candidate),
    )


def mean_cycle_s(outcomes: list[EpisodeOutcome]) -> float:
    """Mean duration of the successful episodes; NaN if there is none."""
    durations = [o.duration_s for o in outcomes if o.success]
    return sum(durations) / len(durations) if durations else math.nan
