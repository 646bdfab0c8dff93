"""Whether one policy's success is shown to be lower than another's on the same scenarios, beyond a margin."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def loss_p_value(lost: int, gained: int, pairs: int, margin: float) -> float:
    """P-value of "success fell by at most `margin`" (a share), from paired outcomes that are looked at once.

    `lost`: scenarios where only the first policy succeeded; `gained`: where only the second did; `pairs`: all.
    It is the chance of a difference `lost - gained` at least this large. The true loss is taken as `margin`, and the
    other rate as its maximum likelihood estimate under this (Tango 1998). The chance itself is exact: counts are small.
    Returns 1 without pairs.
    """
    if pairs == 0:
        return 1.0
    rate = _restricted_gain_rate(lost, gained, pairs, margin)
    chances = _difference_distribution(pairs, min(rate + margin, 1.0), rate)
    return float(min(1.0, chances[pairs + lost - gained :].sum()))


def _restricted_gain_rate(lost: int, gained: int, pairs: int, margin: float) -> float:
    """Maximum likelihood estimate of the chance that a pair is gained, when a pair is lost by `margin` more often."""
    a = 2.0 * pairs
    b = -lost - gained + (2.0 * pairs - lost + gained) * margin
    c = -gained * margin * (1.0 - margin)
    root = math.sqrt(max(0.0, b * b - 4.0 * a * c))
    return min(max(0.0, (root - b) / (2.0 * a)), (1.0 - margin) / 2.0)


def _difference_distribution(pairs: int, lost_rate: float, gained_rate: float) -> NDArray[np.float64]:
    """Chances of `lost - gained` from -pairs to pairs: the distribution of one pair, `pairs` times convolved."""
    single = np.array([gained_rate, max(0.0, 1.0 - gained_rate - lost_rate), lost_rate])
    spectrum = np.fft.rfft(single, 2 * pairs + 1) ** pairs
    return np.clip(np.fft.irfft(spectrum, 2 * pairs + 1), 0.0, 1.0)
