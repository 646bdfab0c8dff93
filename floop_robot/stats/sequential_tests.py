"""Sequential tests by betting: each may be looked at after every episode and keeps its error rate.

A bettor plays against a hypothesis. While the hypothesis is true, no stake makes money on average. So the capital ever
reaches 1/alpha with chance alpha at most, whenever one stops (Ville's inequality). Source: Waudby-Smith & Ramdas 2023,
"Estimating means of bounded random variables by betting".

Gate: the paired tests. They see the same scenario twice, `difference` = candidate's success minus incumbent's, one of
-1, 0, 1. Deployment: `evidence_below` and `evidence_above`, about one success rate. Intervals are in `intervals.py`.
Measured error rates: docs/design/gate.md, tests/stats/.
"""

from __future__ import annotations

import enum
import math

_FRACTIONS = (0.25, 0.5, 0.75, 0.92)
"""Stakes of an `EProcess`, as fractions of the largest that cannot go broke; they share the capital evenly."""
_HIGH_FRACTIONS = (0.75, 0.92)
"""Stakes where hardly any pair is expected to be lost: they need 39 pairs of 98 % against 98 %, the others 46."""
_RATE_FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
"""Stakes on a success rate: small ones find small differences, large ones find large differences soon."""
_MOST_GROWTH = 300.0
"""Log of growth beyond which it makes no difference."""
_LOG_LOSSES = tuple(math.log1p(-fraction) for fraction in _RATE_FRACTIONS)
HIGHEST_RATE = 0.99
"""Rates above count as this one: at 1 a single failure would be proof, and no robot is that good."""


class Status(enum.Enum):
    """The answer of a test so far."""

    OPEN = "open"
    YES = "yes"
    NO = "no"


class EProcess:
    """Bets against "the mean of x is at most `mean`", for x in [low, ∞) with low < mean."""

    def __init__(self, mean: float, low: float = -1.0, fractions: tuple[float, ...] = _FRACTIONS) -> None:
        self._mean = mean
        self._stakes = [fraction / (mean - low) for fraction in fractions]
        self._capitals = [1.0] * len(fractions)
        self._best = self.capital = 1.0
        """What the bettor has now; it began with 1."""
        self._seen = 0

    def observe(self, x: float) -> None:
        """Take one observation."""
        gain = x - self._mean
        self._seen += 1
        self._capitals = [c * (1.0 + s * gain) for c, s in zip(self._capitals, self._stakes, strict=True)]
        self.capital = sum(self._capitals) / len(self._capitals)
        self._best = max(self._best, self.capital)

    def rejects(self, alpha: float) -> bool:
        """Whether the hypothesis is refuted, with a false-alarm rate of at most `alpha`; once true it stays true."""
        return self._best * alpha >= 1.0

    def could_reject(self, alpha: float, remaining: int, x: float) -> bool:
        """Whether `remaining` more observations that all equal `x` would refute the hypothesis."""
        gain = x - self._mean
        growths = [math.exp(min(_MOST_GROWTH, remaining * math.log1p(s * gain))) for s in self._stakes]
        capital = sum(c * growth for c, growth in zip(self._capitals, growths, strict=True)) / len(growths)
        return max(self._best, capital) * alpha >= 1.0

    def to_go(self, alpha: float) -> float:
        """How many observations more refute the hypothesis at the pace of the best stake; infinite while none gains."""
        top = max(self._capitals)
        if top <= 1.0:
            return math.inf
        return max(0.0, -math.log(alpha * top)) * self._seen / math.log(top)


def _log_mean_exp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


class Superiority:
    """Is the candidate better? YES keeps `alpha`; NO says that it gains less than `gain`, or loses, keeping `beta`.

    Pairs with the same outcome move no money: it is a bet that of the other pairs more are won than lost.
    """

    def __init__(self, alpha: float, beta: float, gain: float) -> None:
        self._alpha, self._beta = alpha, beta
        self._not_better = EProcess(0.0)
        self._gains = EProcess(-gain)

    def observe(self, difference: int) -> None:
        """Take the outcome of one pair."""
        self._not_better.observe(difference)
        self._gains.observe(-difference)

    @property
    def capital(self) -> float:
        """What is left of a stake of 1 on "better"."""
        return self._not_better.capital

    @property
    def pairs_to_go(self) -> float:
        """How many pairs more show "better", at the pace so far."""
        return self._not_better.to_go(self._alpha)

    @property
    def status(self) -> Status:
        """The answer so far."""
        if self._not_better.rejects(self._alpha):
            return Status.YES
        return Status.NO if self._gains.rejects(self._beta) else Status.OPEN


def fewest_pairs(alpha: float, won: float) -> float:
    """About how many pairs show "better" when a share `won` of them is won, in (0, 1], and none is lost."""
    return -math.log(alpha) / (won * math.log1p(_FRACTIONS[-1]))


class NonInferiority:
    """Is the candidate at most `margin` worse? YES keeps `alpha`; NO says that it is worse.

    NO comes when all but `beta` of the capital is lost (as in Wald's test). The bets are on a candidate that is worse
    in 1 or 3 % of the pairs and better in none; so one like that, or better, is refused with chance `beta` at most.
    """

    def __init__(self, alpha: float, beta: float, margin: float, cap: int) -> None:
        """`cap`: most pairs."""
        self._alpha, self._beta, self._remaining = alpha, beta, cap
        self._inferior = EProcess(-margin, fractions=_HIGH_FRACTIONS)
        self._is_worse = False

    @property
    def capital(self) -> float:
        """What is left of a stake of 1 on "at most `margin` worse"."""
        return self._inferior.capital

    def observe(self, difference: int) -> None:
        """Take the outcome of one pair."""
        self._remaining -= 1
        self._inferior.observe(difference)
        self._is_worse = self._is_worse or self._inferior.capital <= self._beta

    @property
    def status(self) -> Status:
        """The answer so far."""
        if self._inferior.rejects(self._alpha):
            return Status.YES
        return Status.NO if self._is_worse else Status.OPEN

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the rest of `cap` pairs, all equal, could no longer bring a YES."""
        return not self._inferior.could_reject(self._alpha, self._remaining, 0.0)


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
    def capital(self) -> float:
        """What is left of a stake of 1 on "faster"."""
        return self._not_faster.capital

    @property
    def pairs_to_go(self) -> float:
        """How many timed pairs more show "faster", at the pace so far."""
        return self._not_faster.to_go(self._alpha)

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
    """Wald's sequential probability ratio test of success `accept` against `reject`; only its rejection is used.

    It anchors the regression test: a series of policies, each a little worse than the one before, ends here.
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


def evidence_below(successes: int, episodes: int, rate: float) -> float:
    """Log of the evidence against "the success rate is at least `rate`".

    Stakes are constant, so only the two counts matter.
    """
    rate = min(rate, HIGHEST_RATE)
    if rate <= 0.0 or episodes == 0:
        return 0.0
    gain, failures = rate / (1.0 - rate), episodes - successes
    bets = zip(_RATE_FRACTIONS, _LOG_LOSSES, strict=True)
    return _log_mean_exp([successes * log_loss + failures * math.log1p(stake * gain) for stake, log_loss in bets])


def evidence_above(successes: int, episodes: int, rate: float) -> float:
    """Log of the evidence against "the success rate is at most `rate`"."""
    return evidence_below(episodes - successes, episodes, 1.0 - rate)


def is_shown_above(successes: int, episodes: int, rate: float, alpha: float) -> bool:
    """Whether the anytime-valid lower bound has reached `rate`, without working it out."""
    return successes > rate * episodes and evidence_above(successes, episodes, rate) >= -math.log(alpha)
