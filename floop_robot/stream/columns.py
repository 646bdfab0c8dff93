"""TransitionColumns: many transitions as one array per field, the form in which they travel and are learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.spec.records import ActMode, Transition

Matrix = NDArray[np.float32]

SCALARS: dict[str, np.dtype[Any]] = {
    "seq": np.dtype("<i8"),
    "episode": np.dtype("<i8"),
    "step": np.dtype("<i4"),
    "stamp_ns": np.dtype("<i8"),
    "policy_version": np.dtype("<i8"),
    "act_mode": np.dtype("u1"),
    "log_prob": np.dtype("<f8"),
    "reward": np.dtype("<f8"),
    "terminated": np.dtype("?"),
    "truncated": np.dtype("?"),
    "interventions": np.dtype("<i4"),
}
"""Fields with one number per row, and how that number lies on the wire."""

VECTORS = ("obs", "action_requested", "action")
"""Fields with one little-endian float32 vector per row."""


class TransitionColumns(msgspec.Struct, frozen=True, kw_only=True):
    """`n` transitions, oldest first; row `i` of every array belongs to one transition. Arrays are read-only views.

    Fields mean what they mean in `spec.records.Transition`.
    """

    seq: NDArray[np.int64]
    episode: NDArray[np.int64]
    step: NDArray[np.int32]
    stamp_ns: NDArray[np.int64]
    policy_version: NDArray[np.int64]
    act_mode: NDArray[np.uint8]
    log_prob: NDArray[np.float64]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    interventions: NDArray[np.int32]
    obs: Matrix
    """Shape (n, obs_size)."""
    action_requested: Matrix
    """Shape (n, action_size)."""
    action: Matrix
    """Shape (n, action_size)."""

    def __len__(self) -> int:
        return len(self.seq)

    def row(self, index: int) -> Transition:
        """One row as a `Transition`."""
        values: dict[str, Any] = {name: getattr(self, name)[index].item() for name in SCALARS}
        values |= {name: getattr(self, name)[index] for name in VECTORS}
        return Transition(**values | {"act_mode": ActMode(values["act_mode"])})

    @classmethod
    def from_bytes(cls, columns: Mapping[str, bytes], rows: int) -> TransitionColumns:
        """Arrays over the bytes of each column; raises ValueError where a column is missing or has another size."""
        arrays: dict[str, Any] = {name: _column(columns, name, kind, (rows,)) for name, kind in SCALARS.items()}
        arrays |= {name: _column(columns, name, np.dtype("<f4"), (rows, -1)) for name in VECTORS}
        return cls(**arrays)

    @staticmethod
    def pack(rows: Sequence[Transition], seqs: Sequence[int]) -> dict[str, bytes]:
        """The bytes of each column of `rows`, whose keys become `seqs`.

        Raises ValueError, TypeError or OverflowError where rows don't fit together.
        """
        columns = {name: np.array([getattr(row, name) for row in rows], kind) for name, kind in SCALARS.items()}
        columns |= {name: np.array([getattr(row, name) for row in rows], "<f4") for name in VECTORS}
        columns["seq"] = np.array(seqs, SCALARS["seq"])
        for name in VECTORS:
            if columns[name].ndim != 2:
                raise ValueError(f"{name} has shape {columns[name].shape}, expected (rows, size)")
        return {name: column.tobytes() for name, column in columns.items()}


def _column(columns: Mapping[str, bytes], name: str, kind: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    if name not in columns:
        raise ValueError(f"column {name} is missing")
    raw = columns[name]
    if kind == np.dtype("?") and raw.strip(b"\x00\x01"):
        raise ValueError(f"column {name} holds bytes other than 0 and 1")
    return np.frombuffer(raw, kind).reshape(shape)


def validation_error(columns: TransitionColumns) -> str:
    """Why these columns must not be learned from; empty when they may.

    Every number is finite, except `log_prob`, which is NaN exactly where the mean was acted. A NaN that reached a
    replay buffer would spoil every weight that is trained on it. So it is refused here, on both sides of the wire.
    """
    for name in VECTORS:
        matrix = getattr(columns, name)
        if matrix.ndim != 2 or matrix.shape[1] == 0:
            return f"{name} has shape {matrix.shape}, expected (rows, size)"
        if not np.isfinite(matrix).all():
            return f"{name} holds NaN or infinity"
    if columns.action.shape != columns.action_requested.shape:
        return f"action has shape {columns.action.shape}, but action_requested {columns.action_requested.shape}"
    if not np.isfinite(columns.reward).all():
        return "reward is NaN or infinite"
    if columns.act_mode.max(initial=0) > max(ActMode):
        return "act_mode is none of the known ones"
    sampled = columns.act_mode == ActMode.SAMPLE
    if not (np.isfinite(columns.log_prob) == sampled).all() or np.isinf(columns.log_prob).any():
        return "log_prob must be finite for sampled actions and NaN for all others"
    return ""
