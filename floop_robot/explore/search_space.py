"""Space: what explorers' tries are drawn from."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


class Space(msgspec.Struct, frozen=True):
    """What is searched: `draw` gives a random point, shape (n,)."""

    draw: Callable[[np.random.Generator], Values]
    reach: Values
    """Standard deviation of a step along each axis, shape (n,); 0 keeps a value."""
    low: Values
    """Least value along each axis, shape (n,); units are those of the axis."""
    high: Values
    """The largest, likewise."""
    circular: NDArray[np.bool_]
    """Axes whose ends meet."""
    stops: NDArray[np.bool_]
    """Axes whose ends stop a step, so that many points lie there; at the ends of the others steps turn back."""
    first: tuple[Values, ...] = ()
    """Points to begin with, the most probable one first."""

    def near(self, point: Values, rng: np.random.Generator) -> Values:
        """A point near `point`, within the space."""
        moved = point + self.reach * rng.standard_normal(len(point))
        span = self.high - self.low
        around = self.low + (moved - self.low) % span
        turned = self.low + span - np.abs((moved - self.low) % (2.0 * span) - span)
        stopped = np.clip(moved, self.low, self.high)
        return np.where(self.circular, around, np.where(self.stops, stopped, turned))

    def are_near(self, point: Values, others: Values) -> NDArray[np.bool_]:
        """Which of `others`, shape (m, n), lie within two steps of `point` along every axis."""
        apart = self._apart(point, others)
        near: NDArray[np.bool_] = np.all(apart <= 2.0 * self.reach + 1e-9, axis=1)
        return near

    def closeness(self, points: Values, others: Values) -> Values:
        """How alike `points`, shape (k, n), and `others`, shape (m, n), are: shape (k, m), from 0 to 1 (the same).

        A normal kernel, two steps wide along each axis; 0 where an axis without steps differs.
        """
        apart = self._apart(points[:, None, :], others[None])
        moves = self.reach > 0.0
        alike: Values = np.exp(-0.5 * np.square(apart[..., moves] / (2.0 * self.reach[moves])).sum(axis=-1))
        return np.where(np.all(apart[..., ~moves] == 0.0, axis=-1), alike, 0.0)

    def _apart(self, point: Values, others: Values) -> Values:
        """Distance along each axis, the shorter way round a circle."""
        apart, span = np.abs(others - point), self.high - self.low
        return np.where(self.circular, np.minimum(apart, span - apart), apart)
