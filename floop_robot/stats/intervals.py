"""Intervals and lower bounds of a success rate.

scipy has Wilson's and Clopper and Pearson's, but adds 110 MB and half a second to every gate and fleet manager; it has
no anytime-valid bound. So they stand here, tested against published values.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from floop_robot.stats.sequential_tests import evidence_above


def wilson(successes: int, episodes: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval (95 % by default); (0, 1) without episodes."""
    if episodes == 0:
        return 0.0, 1.0
    rate, square = successes / episodes, z * z
    center = (rate + square / (2 * episodes)) / (1 + square / episodes)
    half = z / (1 + square / episodes) * math.sqrt(rate * (1 - rate) / episodes + square / (4 * episodes**2))
    return max(0.0, center - half), min(1.0, center + half)


def beta_lower_bound(successes: float, tries: float) -> float:
    """Success that something surely has: mean less one standard deviation of its beta distribution.

    The distribution is uniform before the first try. For ranking: a few lucky tries rank below a long good record.
    Counts may be weighted, so they need not be whole.
    """
    mean = (1.0 + successes) / (2.0 + tries)
    return mean - math.sqrt(mean * (1.0 - mean) / (3.0 + tries))


def clopper_pearson_lower_bound(successes: int, episodes: int, alpha: float) -> float:
    """Exact lower bound for counts that are looked at once."""
    if successes == 0:
        return 0.0

    def is_refuted(rate: float) -> bool:
        terms = (
            math.comb(episodes, i) * rate**i * (1.0 - rate) ** (episodes - i) for i in range(successes, episodes + 1)
        )
        return sum(terms) < alpha

    return _largest_refuted(is_refuted, successes, episodes)


def anytime_lower_bound(successes: int, episodes: int, alpha: float) -> float:
    """Lower bound that may be looked at after every episode: with chance 1 - alpha it never exceeds the rate."""
    threshold = -math.log(alpha)
    return _largest_refuted(lambda rate: evidence_above(successes, episodes, rate) >= threshold, successes, episodes)


def _largest_refuted(is_refuted: Callable[[float], bool], successes: int, episodes: int) -> float:
    """Largest refuted rate below the observed one, by bisection."""
    low, high = 0.0, successes / episodes if episodes else 0.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        if is_refuted(middle):
            low = middle
        else:
            high = middle
    return low
