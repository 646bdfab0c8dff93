"""Evidence about a success rate that may be looked at after every episode.

A gambler bets against "the rate is at least p" (or "at most p"), each episode, at odds that are fair at p. Several
gamblers stake different shares of their wealth; their mean wealth is the evidence. If the statement is true, the
chance that this evidence ever reaches 1/α is at most α (Ville), however often one looks and whenever one stops. Bets
are constant, so the evidence depends on the two counts only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
"""Share of the wealth that each gambler stakes: small ones find small differences, large ones find large ones soon."""
_LOG_LOSSES = tuple(math.log1p(-share) for share in SHARES)
HIGHEST_RATE = 0.99
"""At p = 1 one single failure would be proof; no robot is that good."""


def evidence_below(successes: int, episodes: int, rate: float) -> float:
    """Log of the evidence against "the success rate is at least `rate`"."""
    rate = min(rate, HIGHEST_RATE)
    if rate <= 0.0 or episodes == 0:
        return 0.0
    gain = rate / (1.0 - rate)
    failures = episodes - successes
    bets = zip(SHARES, _LOG_LOSSES, strict=True)
    return _log_mean([successes * log_loss + failures * math.log1p(share * gain) for share, log_loss in bets])


def evidence_above(successes: int, episodes: int, rate: float) -> float:
    """Log of the evidence against "the success rate is at most `rate`"."""
    return evidence_below(episodes - successes, episodes, 1.0 - rate)


def is_shown_above(successes: int, episodes: int, rate: float, alpha: float) -> bool:
    """Whether `lower_bound` has reached `rate`, without working it out."""
    return successes > rate * episodes and evidence_above(successes, episodes, rate) >= -math.log(alpha)


def lower_bound(successes: int, episodes: int, alpha: float) -> float:
    """Anytime-valid lower bound of a success rate: with chance ≥ 1 − α it never exceeds the rate."""
    return _bisect(lambda rate: evidence_above(successes, episodes, rate) >= -math.log(alpha), successes, episodes)


def fixed_lower_bound(successes: int, episodes: int, alpha: float) -> float:
    """Lower bound of Clopper and Pearson, for counts that are looked at once."""
    if successes == 0:
        return 0.0

    def too_low(rate: float) -> bool:
        tail = sum(
            math.comb(episodes, i) * rate**i * (1.0 - rate) ** (episodes - i) for i in range(successes, episodes + 1)
        )
        return tail < alpha

    return _bisect(too_low, successes, episodes)


def _log_mean(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


def _bisect(refuted: Callable[[float], bool], successes: int, episodes: int) -> float:
    """Largest rate below the observed one that is refuted."""
    low, high = 0.0, successes / episodes if episodes else 0.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        if refuted(middle):
            low = middle
        else:
            high = middle
    return low
