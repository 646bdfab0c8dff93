"""Rows: complete transitions as columns, each with the observation that followed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.stream.columns import Matrix


class Transitions(msgspec.Struct, frozen=True, kw_only=True):
    """`n` transitions of one stream, oldest first. Observations are raw; fields as in `spec.records.Transition`."""

    obs: Matrix
    """Shape (n, obs_size)."""
    action: Matrix
    """Executed, shape (n, action_size)."""
    action_requested: Matrix
    next_obs: Matrix
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    """No value follows."""
    episode_end: NDArray[np.bool_]
    """Last row of its episode, with a successor that was seen. (Rows may be missing anywhere; then none is marked.)"""
    log_prob: NDArray[np.float32]
    """NaN where the mean was acted."""
    policy_version: NDArray[np.int64]
    episode: NDArray[np.int64]
    stamp_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.reward)

    def take(self, index: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Transitions:
        """The rows that `index` selects."""
        return Transitions(**{name: getattr(self, name)[index] for name in self.__struct_fields__})


def concatenate(parts: Sequence[Transitions]) -> Transitions:
    """All rows in one; needs at least one part."""
    return Transitions(
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in Transitions.__struct_fields__}
    )
