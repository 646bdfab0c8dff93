"""ActionWriter: from a policy's action in [-1, 1] to one that lies in the environment's Box, in its dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from floop_robot.spec.errors import ConfigError
from floop_robot.spec.layout import Vector


class ActionWriter:
    """Writes the actions of one space."""

    def __init__(self, space: spaces.Space[Any], env_id: str = "the environment") -> None:
        """Raises `ConfigError` for an action space without bounds, or that is no Box."""
        if not isinstance(space, spaces.Box):
            cure = "give it a Box, for example one number whose ranges stand for the choices"
            raise ConfigError(f"{env_id} acts by {space}; floop train needs continuous actions (Box): {cure}")
        if space.dtype is None or space.dtype.kind not in "fiu" or not np.prod(space.shape):
            raise ConfigError(f"{env_id} acts by a Box of {space.dtype} of shape {space.shape}; use float32 numbers")
        if not space.is_bounded("both"):
            cure = "wrap it in gymnasium.wrappers.ClipAction with bounds, or give its Box low and high"
            raise ConfigError(f"{env_id} has unbounded actions; {cure}")
        self.space = space
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)

    @property
    def size(self) -> int:
        """How many numbers an action has."""
        return int(np.prod(self.space.shape))

    def write(self, action: Vector) -> tuple[NDArray[Any], Vector]:
        """The environment's action for one of the policy, and what of it is executed, in [-1, 1], shape (size,).

        Clipped, stretched to the Box and, for integers, rounded.
        """
        unit = np.clip(np.asarray(action, np.float64).reshape(self.space.shape), -1.0, 1.0)
        part = 0.5 + 0.5 * unit
        native = self.fit(self._low * (1.0 - part) + self._high * part)  # the range itself may be no float64
        if native.dtype.kind in "iu":
            size = self._high - self._low
            unit = np.where(size > 0, (native - self._low) / np.maximum(size, 1.0) * 2.0 - 1.0, unit)
        return native, unit.astype(np.float32).reshape(-1)

    def fit(self, action: NDArray[Any]) -> NDArray[Any]:
        """An action in the environment's own units, put into its Box and dtype."""
        dtype = self.space.dtype
        assert dtype is not None
        values = np.asarray(action, np.float64).reshape(self.space.shape)
        is_low, is_high = values <= self._low, values >= self._high
        inside = np.where(is_low | is_high, 0.0, values)  # float64 rounds 2**63 - 1 to what no int64 holds
        if dtype.kind in "iu":
            inside = np.rint(inside)
        fitted: NDArray[Any] = np.where(
            is_high, self.space.high, np.where(is_low, self.space.low, inside.astype(dtype))
        )
        return fitted
