"""What outcomes tell of a robot's load: mass over friction of its objects, as a factor on the usual one.

A grasp holds or slips. So a replay of an episode looks alike under all loads that hold, and its mismatch hardly tells
one from another. Its outcome does: each episode has a load from which on it fails when it is replayed. Where it failed
on the robot, the load was probably larger than that, elsewhere smaller.
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
"""Of the range in which an episode begins to fail."""
USUAL_STD: Final = 0.3
"""Of a robot's log load where nothing changed."""
CHANGED_MEAN: Final = 1.5
CHANGED_STD: Final = 1.0
"""The same where it changed. Less than the usual load makes no grasp fail."""
CHANGED_SHARE: Final = 0.5
"""How probable a change is on a robot with failures that a load could explain."""
UNLIKELY_SHARE: Final = 0.3
"""The same where no load explains any of its failures."""
OBJECTS_STD: Final = 0.25
"""Of the log loads of one robot's objects, and of the loads from which on their replays fail."""
CHANCE: Final = 0.1
"""Probability that an episode went another way by chance."""
_LOADS: Final[Values] = np.linspace(-1.0, 4.5, 111)


class LoadEstimate(msgspec.Struct, frozen=True):
    """Log load of a robot: as usual, or changed."""

    changed: float
    """Probability that it is not the usual one."""
    mean: float
    """If it changed."""
    std: float

    def log_density(self, log_load: Values) -> Values:
        """Of log loads, shape (n,)."""
        usual, changed = _normal(log_load, 0.0, USUAL_STD), _normal(log_load, self.mean, self.std)
        found: Values = np.log((1.0 - self.changed) * usual + self.changed * changed + 1e-300)
        return found


def fails_from(holds: Callable[[float], bool]) -> float:
    """The log load from which on an episode fails, if `holds` tells whether it succeeds when replayed under one.

    Minus infinity where it fails under the usual load: something else is the cause, or the policy gave up meanwhile.
    Infinity where it fails under none. Neither tells anything of the load.
    """
    if not holds(0.0):
        return -math.inf
    if holds(LARGEST):
        return math.inf
    low, high = 0.0, LARGEST
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return 0.5 * (low + high)


def estimate_load(thresholds: Sequence[float], failed: Sequence[bool]) -> LoadEstimate:
    """`thresholds`: `fails_from` of each episode; `failed`: whether it did so on the robot."""
    log_likelihood = np.zeros(len(_LOADS))
    found = [
        (threshold, fails) for threshold, fails in zip(thresholds, failed, strict=True) if math.isfinite(threshold)
    ]
    share = CHANGED_SHARE if any(fails for _, fails in found) else UNLIKELY_SHARE
    for threshold, fails in found:
        probable = CHANCE + (1.0 - 2.0 * CHANCE) * _normal_cdf((_LOADS - threshold) / OBJECTS_STD)
        log_likelihood += np.log(probable if fails else 1.0 - probable)
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
