"""Offset and scale of observed values, from their bounds and from what random play saw.

Networks learn from values of about 1. Values that are about that size are left as they are, as stable-baselines3
leaves them. Declared bounds alone tell little: people write ±10 or ±inf for values that stay within ±0.3.
"""

from __future__ import annotations

import numpy as np

from floop_robot.spec.layout import Field, Layout, Vector

UNBOUNDED = 1e6
"""Layouts write this for a bound that is infinite, or larger."""


def layout_of(
    name: str, low: Vector, high: Vector, seen: Vector | None = None, *, is_image: bool = False
) -> tuple[Field, ...]:
    """Fields of one part of a vector. `seen`: values of random play, shape (n, size); None takes the bounds."""
    low, high = low.astype(np.float64), high.astype(np.float64)  # float16 does not hold UNBOUNDED
    if is_image:
        offset, scale = np.zeros_like(low), np.full_like(low, 255.0)
    else:
        offset, scale = _by_bounds(low, high) if seen is None else _by_sight(low, high, seen)
    rows = np.stack([np.maximum(low, -UNBOUNDED), np.minimum(high, UNBOUNDED), offset, scale], axis=1)
    starts = [0, *(np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1).tolist()]
    fields = []
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        values = dict(zip(("low", "high", "offset", "scale"), rows[start].tolist(), strict=True))
        title = name if len(starts) == 1 else f"{name}_{start}"
        fields.append(Field(name=title, size=stop - start, unit="1", **values))
    return tuple(fields)


def layout(*parts: tuple[Field, ...]) -> Layout:
    """The layout of parts in order."""
    return Layout(fields=tuple(field for part in parts for field in part))


def _by_bounds(low: Vector, high: Vector) -> tuple[Vector, Vector]:
    """To [-1, 1]; values that are constant by their bounds, or have none, are not scaled."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = (high - low) / 2.0
        known = np.isfinite(half) & (half < UNBOUNDED)
        offset = np.where(known, (high + low) / 2.0, 0.0)
    return offset.astype(np.float32), np.where(known & (half > 0), half, 1.0).astype(np.float32)


def _by_sight(low: Vector, high: Vector, seen: Vector) -> tuple[Vector, Vector]:
    offset, scale = _by_bounds(low, high)
    mean, spread = seen.mean(axis=0, dtype=np.float64), seen.std(axis=0, dtype=np.float64)
    is_far = np.abs(mean) > 3.0 * np.maximum(spread, 1.0)
    # Powers of 2, so that the same environment has the same layout on any machine.
    size = np.exp2(np.rint(np.log2(np.maximum(np.where(is_far, spread, np.hypot(mean, spread)), 1.0))))
    middle = np.where(is_far, np.rint(mean / size) * size, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        is_tight = high - low <= 2.0  # the bounds of values that are small by nature
    return np.where(is_tight, offset, middle).astype(np.float32), np.where(is_tight, scale, size).astype(np.float32)
