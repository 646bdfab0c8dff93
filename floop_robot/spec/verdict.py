"""Verdict: what the gate found out about a candidate, and why it decided as it did."""

from __future__ import annotations

import enum

import msgspec

from floop_robot.spec.bounds import BoundedCount, BoundedInt
from floop_robot.spec.errors import FloopError


class Decision(enum.StrEnum):
    """What becomes of a candidate."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"


class SuiteResult(msgspec.Struct, frozen=True, kw_only=True):
    """How candidate and incumbent did on the same scenarios of one suite."""

    name: str
    episodes: int
    candidate_successes: int
    incumbent_successes: int
    candidate_interval: tuple[float, float]
    """95 % Wilson interval of the candidate's success."""
    candidate_cycle_s: float
    """Mean duration of its successful episodes; NaN if none."""
    incumbent_cycle_s: float
    candidate_interventions: int
    """Servo ticks the limiter changed."""
    limit_violations: int
    """Servo ticks with measured joint states outside the limits (a hard contact can throw a joint past its speed)."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's answer for one candidate; stored with the version as its certificate."""

    decision: Decision
    reason: str
    candidate_sha256: str
    incumbent_version: int
    suites: tuple[SuiteResult, ...]
    seed: int
    """First scenario seed, so that the trial can be repeated."""
    alpha: float
    duration_s: float
    canary: bool = False
    """Known tasks are kept, and what fails can't be simulated: only a robot can tell whether it is better."""


class VerdictRefused(FloopError):
    """A verdict that contradicts itself, or holds a number that no registry or message does."""


class _BoundedSuite(SuiteResult, frozen=True, kw_only=True):
    episodes: BoundedCount
    candidate_successes: BoundedCount
    incumbent_successes: BoundedCount
    candidate_interventions: BoundedCount
    limit_violations: BoundedCount


class _BoundedVerdict(Verdict, frozen=True, kw_only=True):
    incumbent_version: BoundedInt
    suites: tuple[_BoundedSuite, ...]
    seed: BoundedInt


def check_verdict(verdict: Verdict) -> None:
    """Raise `VerdictRefused` when a number is out of its bounds, or a canary may try what is not inconclusive.

    A `Verdict` itself checks neither: a registry that took in such a one must stay readable.
    """
    if verdict.canary and verdict.decision is not Decision.INCONCLUSIVE:
        raise VerdictRefused(
            f"a canary may try only what is inconclusive, and the verdict is {verdict.decision}; "
            "judge the candidate again"
        )
    try:
        msgspec.convert(verdict, _BoundedVerdict, from_attributes=True)
    except msgspec.ValidationError as error:
        raise VerdictRefused(f"the verdict holds a number out of bounds ({error}); judge the candidate again") from None
