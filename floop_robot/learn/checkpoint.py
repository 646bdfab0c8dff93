"""Checkpoint: everything a learner needs to go on where it was, as one safetensors file with a JSON header.

Replay is not in it: the journal has every row and is read again. Only some rows of known tasks travel along, so that
a learner doesn't forget them before the journal has any.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from floop_robot.durable.files import write_atomic
from floop_robot.durable.framing import checksum, pack
from floop_robot.durable.newest_file import load_newest
from floop_robot.learn.mlp import Array
from floop_robot.monitor.shift_detector import KnownTasks
from floop_robot.replay.packed_episodes import PackedEpisodes, unpack_episodes
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.calibration import Offset
from floop_robot.spec.errors import ContractMismatch, FloopError, StorageError
from floop_robot.spec.hyperparameters import CarriedSettings
from floop_robot.spec.ids import Ids

log = logging.getLogger(__name__)

SUFFIX = ".learner"
_PRIOR = "prior."
_INFO, _CRC = "floop", "crc32"
"""Keys of the metadata in the header."""
MAX_CHECKPOINT_BYTES = 256 << 20


class CheckpointRefused(FloopError):
    """A checkpoint that is damaged or does not fit."""


class CheckpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Task, algorithm and journal that the arrays belong to."""

    task: str
    ids: Ids
    algo: str
    hidden: tuple[int, ...]
    gradient_steps: int = 0
    transitions: int = 0
    """Rows taken in so far."""
    weights_version: int = 0
    """Live weights published so far."""
    known: KnownTasks = KnownTasks()
    """Tasks that the policy was trained on."""
    replay_from: int = 0
    """Journal position from which a resumed learner reads to rebuild its replay."""
    trained_to: int = 0
    """Journal position up to which rows had been learned from."""
    journal_id: str = ""
    """Identity of the journal that these positions belong to."""
    calibration: dict[str, Offset] = {}
    """Corrections that candidates carried."""
    settings: CarriedSettings = {}
    """The complete hyper-parameters that acted (`spec.hyperparameters`); empty in files of before they travelled."""


class Checkpoint(msgspec.Struct, frozen=True):
    """Info, arrays by name, and rows of known tasks."""

    info: CheckpointInfo
    arrays: dict[str, Array]
    prior: PackedEpisodes = {}
    """Episodes of known tasks (`replay.packed_episodes`); may be empty."""

    def save(self, path: Path, *, keep_previous: bool = False) -> None:
        """Write to `path`, whole or not at all; raises `StorageError`. `keep_previous`: see `load_newest`."""
        arrays = self.arrays | {_PRIOR + name: array for name, array in self.prior.items()}
        info = msgspec.json.encode(self.info).decode()
        header = {_INFO: info, _CRC: f"{_checksum(info, arrays):08x}"}
        write_atomic(path, safetensors.numpy.save(arrays, metadata=header), keep_previous=keep_previous)

    @classmethod
    def load_newest(cls, path: Path) -> Checkpoint:
        """Read the checkpoint at `path`; a damaged one is set aside, and the one that was kept before it is read.

        Raises what `load` raises when that is no better.
        """
        return load_newest(path, cls.load, CheckpointRefused)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint; raises `StorageError` (unreadable) or `CheckpointRefused` (damaged, not finite)."""
        try:
            if path.stat().st_size > MAX_CHECKPOINT_BYTES:
                raise CheckpointRefused(f"{path} is larger than any checkpoint; check the path")
            blob = path.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}; check the path") from None
        try:
            arrays = safetensors.numpy.load(blob)
            metadata = _header(blob)["__metadata__"]
            info = msgspec.json.decode(metadata[_INFO], type=CheckpointInfo)
        except (SafetensorError, msgspec.MsgspecError, ValueError, KeyError, struct.error) as error:
            reason = " ".join(str(error).split())
            raise CheckpointRefused(f"{path} is no whole checkpoint ({reason}); use an older one") from None
        if _CRC not in metadata and metadata.keys() == {_INFO}:
            log.info("%s has no checksum: an earlier floop wrote it", path)
        elif metadata.get(_CRC) != f"{_checksum(metadata[_INFO], arrays):08x}":
            raise CheckpointRefused(f"{path} is damaged: its checksum does not fit its content; use an older one")
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise CheckpointRefused(f"{name!r} in {path} holds NaN or infinity; use an older checkpoint")
        prior = {name.removeprefix(_PRIOR): array for name, array in arrays.items() if name.startswith(_PRIOR)}
        return cls(info, {name: array for name, array in arrays.items() if not name.startswith(_PRIOR)}, prior)

    def prior_rows(self, obs_size: int, action_size: int) -> Transitions | None:
        """The rows of known tasks, or None; raises `CheckpointRefused` when they don't fit."""
        if not self.prior:
            return None
        try:
            rows = unpack_episodes(self.prior)
        except (KeyError, ValueError, IndexError) as error:
            raise CheckpointRefused(
                f"the checkpoint's rows of known tasks are damaged ({error}); train it again"
            ) from None
        if (rows.obs.shape[1], rows.action.shape[1]) != (obs_size, action_size):
            raise CheckpointRefused(
                "the checkpoint's rows of known tasks have another shape than the task; train it again"
            )
        return rows

    def require(self, ids: Ids, where: str) -> None:
        """Raise `ContractMismatch` unless made for the contract in force."""
        if self.info.ids.contract != ids.contract:
            has, wants = f"contract {self.info.ids.contract}", f"contract {ids.contract}"
            raise ContractMismatch("the checkpoint", has, where, wants, "Train it again with `floop train`.")


def fill_arrays(targets: Mapping[str, Array], arrays: Mapping[str, Array], what: str) -> None:
    """Copy `arrays` into `targets` in place: all or, when a name or shape is wrong (`CheckpointRefused`), none."""
    for name, target in targets.items():
        if name not in arrays:
            raise CheckpointRefused(f"{what} lacks {name!r}; it was made by another version, train again")
        if arrays[name].shape != target.shape:
            raise CheckpointRefused(f"{name!r} of {what} has shape {arrays[name].shape}, expected {target.shape}")
    for name, target in targets.items():
        target[...] = arrays[name]


def _checksum(info: str, arrays: Mapping[str, Array]) -> int:
    """The CRC-32 over the info and each array with its name, type and shape."""
    crc = checksum(info.encode())
    for name, array in sorted(arrays.items()):
        crc = checksum(pack((name, array.dtype.str, array.shape)), crc)
        crc = checksum(np.ascontiguousarray(array).tobytes(), crc)
    return crc


def _header(blob: bytes) -> dict[str, dict[str, str]]:
    # safetensors: 8 bytes of little-endian length, then JSON; its reader gives tensors only.
    (length,) = struct.unpack("<Q", blob[:8])
    header: dict[str, dict[str, str]] = msgspec.json.decode(blob[8 : 8 + length])
    return header
