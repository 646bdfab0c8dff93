"""ObservationRange: smallest and largest value of every observation that a policy was trained on."""

from __future__ import annotations

import numpy as np

from floop_robot.bundle import DataRange
from floop_robot.learn.mlp import Array


class ObservationRange:
    """Grows with the observations it sees; a bundle carries it as its `DataRange`."""

    def __init__(self, obs_size: int) -> None:
        self._low = np.full(obs_size, np.inf, np.float32)
        self._high = np.full(obs_size, -np.inf, np.float32)

    def extend(self, observations: Array) -> None:
        """Take in raw observations, shape (n, obs_size), n > 0."""
        np.minimum(self._low, observations.min(axis=0), out=self._low)
        np.maximum(self._high, observations.max(axis=0), out=self._high)

    def data_range(self, transitions: int, journal_to: int = 0) -> DataRange:
        """The range, empty before the first observation, with how much data there was."""
        seen = bool(np.isfinite(self._low).all())
        return DataRange(
            transitions=transitions,
            journal_to=journal_to,
            observation_low=tuple(self._low.tolist()) if seen else (),
            observation_high=tuple(self._high.tolist()) if seen else (),
        )
