"""What lifts tell of a robot's load: mass over friction of its objects, as a factor on the usual one.

A grasp holds or slips. So a replay of an episode looks alike under all loads that hold, and its mismatch hardly tells
one from another. How high it lifts the object does: under a lighter load than the robot's it lifts it higher than the
robot did, under a heavier one less high.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
LARGEST: Final = 3.5
"""Of log loads that are replayed; under it nothing is lifted."""
HALVINGS: Final = 4
"""Of the range in which a replay begins to lift less."""
TOLERANCE_M: Final = 0.015
"""Lifts that differ by less are alike: perception errs, and objects sit differently between the fingers."""
USUAL_STD: Final = 0.3
"""Of a robot's log load where nothing changed."""
CHANGED_MEAN: Final = 1.5
CHANGED_STD: Final = 1.0
"""The same where it changed. Less than the usual load makes no grasp fail."""
CHANGED_SHARE: Final = 0.8
"""How probable a change is on a robot that lifted an object less than its replay under the usual load does."""
UNLIKELY_SHARE: Final = 0.1
"""The same on others."""
OBJECTS_STD: Final = 0.35
"""Of the log loads of one robot's objects, and of their bounds."""
MODEL_STD: Final = 0.12
"""Of what no simulated world shows alike."""
CHANCE: Final = 0.1
"""Probability that an episode went another way by chance; then any bounds are as likely."""
NARROWEST: Final = 0.2
"""Bounds are not known better than this."""
_LOADS: Final[Values] = np.linspace(-1.0, 4.5, 111)


class LoadEstimate(msgspec.Struct, frozen=True):
    """Log load of a robot: as usual, or changed."""

    changed: float = UNLIKELY_SHARE
    """Probability that it is not the usual one."""
    mean: float = CHANGED_MEAN
    """If it changed."""
    std: float = CHANGED_STD

    def draw(self, count: int, rng: np.random.Generator) -> Values:
        """Log loads, shape (count,)."""
        changed = rng.random(count) < self.changed
        std = np.where(changed, math.hypot(self.std, MODEL_STD), USUAL_STD)
        found: Values = np.where(changed, self.mean, 0.0) + std * rng.standard_normal(count)
        return found


class LoadBounds(msgspec.Struct, frozen=True):
    """Log loads that agree with one episode."""

    low: float = -math.inf
    """Up to here its replay lifts the object higher than the robot did; minus infinity: under no load."""
    high: float = math.inf
    """From here on its replay lifts it less; infinity: under no load."""

    def log_likelihood(self, log_load: Values) -> Values:
        """Of log loads, shape (n,)."""
        if self.low == -math.inf and self.high == math.inf:
            return np.zeros(len(log_load))
        widened = max(0.0, 0.5 * (NARROWEST - self.high + self.low))
        low, high = self.low - widened, self.high + widened
        probable = _normal_cdf((high - log_load) / OBJECTS_STD) - _normal_cdf((low - log_load) / OBJECTS_STD)
        by_chance = (min(high, LARGEST) - max(low, 0.0)) / LARGEST
        found: Values = np.log((1.0 - CHANCE) * probable + CHANCE * by_chance)
        return found


def load_bounds(lifts: Callable[[float], float], lift_m: float) -> LoadBounds:
    """What an episode tells in which the robot lifted the object by `lift_m`; `lifts`: its replay under a log load.

    Where no load makes a difference, and where the replay lifts it less under the usual load, something else decides.
    """
    usual = lifts(0.0)
    if usual < lift_m - TOLERANCE_M:
        return LoadBounds()
    low, start = -math.inf, 0.0
    if usual > lift_m + TOLERANCE_M:
        start = _from(lambda log_load: lifts(log_load) <= lift_m + TOLERANCE_M, 0.0)
        if start == math.inf:
            return LoadBounds()
        low = start
    if lift_m < 2.0 * TOLERANCE_M:
        return LoadBounds(low)
    return LoadBounds(low, _from(lambda log_load: lifts(log_load) < lift_m - TOLERANCE_M, start))


def _from(holds: Callable[[float], bool], low: float) -> float:
    """The log load above `low` from which on something holds; infinity if it holds under none."""
    if not holds(LARGEST):
        return math.inf
    high = LARGEST
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return 0.5 * (low + high)


def estimate_load(episodes: Sequence[LoadBounds]) -> LoadEstimate:
    """What all episodes of a robot tell together."""
    log_likelihood = np.zeros(len(_LOADS))
    for bounds in episodes:
        log_likelihood += bounds.log_likelihood(_LOADS)
    could_explain = any(bounds.low > 0.0 for bounds in episodes)
    share = CHANGED_SHARE if could_explain else UNLIKELY_SHARE
    usual, changed = _weights(log_likelihood, 0.0, USUAL_STD), _weights(log_likelihood, CHANGED_MEAN, CHANGED_STD)
    odds = share * changed.sum() / ((1.0 - share) * usual.sum())
    changed /= changed.sum()
    mean = float(changed @ _LOADS)
    return LoadEstimate(float(odds / (1.0 + odds)), mean, float(np.sqrt(changed @ (_LOADS - mean) ** 2)))


def _weights(log_likelihood: Values, mean: float, std: float) -> Values:
    """Prior density times likelihood, but for a factor that is the same for each prior."""
    prior = _normal(_LOADS, mean, std)
    found: Values = prior / prior.sum() * np.exp(log_likelihood - log_likelihood.max())
    return found


def _normal(x: Values, mean: float, std: float) -> Values:
    found: Values = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2.0 * math.pi))
    return found


def _normal_cdf(x: Values) -> Values:
    return np.array([0.5 * (1.0 + math.erf(value / math.sqrt(2.0))) for value in x])
