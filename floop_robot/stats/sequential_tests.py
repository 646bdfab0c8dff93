"""Sequential tests by betting: each may be looked at after every episode and keeps its error rate.

A `EProcess` plays against a hypothesis "the mean is at most m". It stakes part of its capital on every observation being
above m; while the hypothesis is true no such game makes money on average, so the capital exceeds 1/alpha with
probability at most alpha, whenever one stops (Ville's inequality; Waudby-Smith & Ramdas 2023, "Estimating means of
bounded random variables by betting"). The tests below are bettors on paired outcomes of the same scenario:
`difference` = candidate's success minus incumbent's, in {-1, 0, 1}.

Nothing here knows episodes, policies or simulators. Measured error rates: docs/design/gate.md, tests/gate/test_trial_statistics.py.
"""

from __future__ import annotations

import enum
import math

_FRACTIONS = (0.25, 0.5, 0.75, 0.92)
"""Stakes as fractions of the largest one that cannot go broke; the capital is spread evenly over them."""


class Status(enum.Enum):
    """Where a question stands."""

    OPEN = "open"
    YES = "yes"
    NO = "no"


class EProcess:
    """Capital in a game against "the mean of x is at most `mean`", for x in [low, ∞) with low < mean."""

    def __init__(self, mean: float, low: float = -1.0) -> None:
        self._mean = mean
        self._stakes = [fraction / (mean - low) for fraction in _FRACTIONS]
        self._log_capital = [0.0] * len(_FRACTIONS)
        self._best = 0.0

    def observe(self, x: float) -> None:
        """Settle one bet."""
        self._log_capital = self._after(1, x)
        self._best = max(self._best, _log_mean_exp(self._log_capital))

    def rejects(self, alpha: float) -> bool:
        """Whether the hypothesis is refuted with false alarms at most `alpha`; once true it stays true."""
        return self._best >= -math.log(alpha)

    def could_reject(self, alpha: float, remaining: int, x: float) -> bool:
        """Whether `remaining` more observations that all equal `x` would refute the hypothesis."""
        return max(self._best, _log_mean_exp(self._after(remaining, x))) >= -math.log(alpha)

    def _after(self, bets: int, x: float) -> list[float]:
        gain = x - self._mean
        return [c + bets * math.log1p(s * gain) for c, s in zip(self._log_capital, self._stakes, strict=True)]


def _log_mean_exp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


class Superiority:
    """Is the candidate better? YES keeps `alpha`; NO says that it gains less than `gain`, or loses, keeping `beta`."""

    def __init__(self, alpha: float, beta: float, gain: float) -> None:
        self._alpha, self._beta = alpha, beta
        self._not_better = EProcess(0.0)
        self._gains = EProcess(-gain)

    def observe(self, difference: int) -> None:
        """Take the outcome of one pair."""
        self._not_better.observe(difference)
        self._gains.observe(-difference)

    @property
    def status(self) -> Status:
        """The answer so far."""
        if self._not_better.rejects(self._alpha):
            return Status.YES
        return Status.NO if self._gains.rejects(self._beta) else Status.OPEN


class NonInferiority:
    """Is the candidate at most `margin` worse? YES keeps `alpha`; NO says that it is worse, keeping `beta`."""

    def __init__(self, alpha: float, beta: float, margin: float, cap: int) -> None:
        self._alpha, self._beta, self._remaining = alpha, beta, cap
        self._inferior = EProcess(-margin)
        self._not_worse = EProcess(0.0)

    def observe(self, difference: int) -> None:
        """Take the outcome of one pair."""
        self._remaining -= 1
        self._inferior.observe(difference)
        self._not_worse.observe(-difference)

    @property
    def status(self) -> Status:
        """The answer so far; NO also when the rest of `cap` pairs, all equal, could no longer show it."""
        if self._inferior.rejects(self._alpha):
            return Status.YES
        if self._not_worse.rejects(self._beta) or not self._inferior.could_reject(self._alpha, self._remaining, 0.0):
            return Status.NO
        return Status.OPEN


class Faster:
    """Is the candidate's cycle shorter? Asked on scenarios that both solve.

    A pair counts for the candidate when it needs less than `1 - margin` of the incumbent's time, and against it when it
    needs more time; the hypothesis is that the first is not likelier than the second.
    """

    def __init__(self, alpha: float, beta: float, margin: float) -> None:
        self._alpha, self._beta, self._margin = alpha, beta, margin
        self._not_faster = EProcess(0.0)
        self._mostly_faster = EProcess(-0.4)
        self._candidate_s = self._incumbent_s = 0.0
        self._pairs = 0

    def observe(self, candidate_s: float, incumbent_s: float) -> None:
        """Take both durations of one pair that both solved."""
        sign = int(candidate_s < (1.0 - self._margin) * incumbent_s) - int(candidate_s > incumbent_s)
        self._not_faster.observe(sign)
        self._mostly_faster.observe(-sign)
        self._candidate_s += candidate_s
        self._incumbent_s += incumbent_s
        self._pairs += 1

    @property
    def pairs(self) -> int:
        """How many pairs were timed."""
        return self._pairs

    @property
    def status(self) -> Status:
        """The answer so far; YES asks that the mean is shorter by the margin as well."""
        shorter = self._candidate_s <= (1.0 - self._margin) * self._incumbent_s
        if self._not_faster.rejects(self._alpha) and shorter:
            return Status.YES
        return Status.NO if self._mostly_faster.rejects(self._beta) else Status.OPEN

    def within_reach(self, pairs: int) -> bool:
        """Whether `pairs` more timed pairs, all won, would show it."""
        return self._not_faster.could_reject(self._alpha, pairs, 1.0)


class SuccessFloor:
    """Wald's sequential probability ratio test of success `accept` against `reject`; only its NO is used.

    It anchors the guard: a series of policies, each a little worse than the one before, ends here.
    """

    def __init__(self, accept: float, reject: float, beta: float) -> None:
        self._success = math.log(accept / reject)
        self._failure = math.log((1.0 - accept) / (1.0 - reject))
        self._bound = math.log(beta / (1.0 - beta))
        self._ratio = self._lowest = 0.0

    def observe(self, success: bool) -> None:
        """Take one outcome of the candidate."""
        self._ratio += self._success if success else self._failure
        self._lowest = min(self._lowest, self._ratio)

    @property
    def broken(self) -> bool:
        """Whether the candidate's success is below the floor."""
        return self._lowest <= self._bound


def wilson(successes: int, episodes: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a success rate (95 % by default); (0, 1) without episodes."""
    if episodes == 0:
        return 0.0, 1.0
    rate, square = successes / episodes, z * z
    centre = (rate + square / (2 * episodes)) / (1 + square / episodes)
    half = z / (1 + square / episodes) * math.sqrt(rate * (1 - rate) / episodes + square / (4 * episodes**2))
    return max(0.0, centre - half), min(1.0, centre + half)
