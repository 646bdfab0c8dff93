"""TakeLog: every row that a training learned from, in order, in one file that only grows.

A training that goes on feeds them to a new algorithm, which so gets the same replay.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import safetensors.numpy
from safetensors import SafetensorError

from floop_robot.durable.framing import deframe, frame
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.errors import StorageError

_LENGTH_BYTES = 8


class Take(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that an algorithm took in at once."""

    robot: str
    boot_id: str
    source: int
    """`spec.records.Source`."""
    is_seen: bool
    """Whether they were seen in the environment; relabelled rows were not."""
    ended: tuple[EndedEpisode, ...]
    rows: Transitions


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    robot: str
    boot_id: str
    source: int
    is_seen: bool
    ended: tuple[EndedEpisode, ...]


class TakeLog:
    """The file. Use it as a context."""

    def __init__(self, path: Path, size: int = 0) -> None:
        """Go on after the first `size` bytes; raises `StorageError`."""
        self._path, self.size = path, size
        try:
            self._file: BinaryIO = path.open("r+b" if size else "w+b")
            if os.fstat(self._file.fileno()).st_size < size:
                raise StorageError(f"{path} is shorter than its training; it can't be gone on with, train again")
            self._file.truncate(size)
            self._file.seek(size)
        except OSError as error:
            raise StorageError(f"cannot open {path}: {error.strerror}; check the folder") from None

    def __enter__(self) -> TakeLog:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # of a full disk; what had to be safe was synced
            self._file.close()

    def append(self, take: Take) -> None:
        """Add rows; raises `StorageError`. They are safe after `sync`."""
        arrays = {name: getattr(take.rows, name) for name in take.rows.__struct_fields__}
        header = msgspec.json.encode(_Header(**{name: getattr(take, name) for name in _Header.__struct_fields__}))
        body = frame(safetensors.numpy.save(arrays, metadata={"floop": header.decode()}))
        try:
            self._file.write(len(body).to_bytes(_LENGTH_BYTES, "little") + body)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}; free space") from None
        self.size += _LENGTH_BYTES + len(body)

    def sync(self) -> None:
        """Make what was appended survive a power cut; raises `StorageError`."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}; free space") from None


def read_takes(path: Path, size: int) -> Iterator[Take]:
    """The rows in the first `size` bytes; raises `StorageError` for damage."""
    try:
        with path.open("rb") as file:
            while file.tell() < size:
                length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
                body = deframe(file.read(length)) if 0 < length <= size else None
                if body is None:
                    raise StorageError(f"{path} is damaged at byte {file.tell()}; train again")
                yield _take(bytes(body))
    except (SafetensorError, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged ({' '.join(str(error).split())}); train again") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; check the folder") from None


def _take(body: bytes) -> Take:
    length = int.from_bytes(body[:8], "little")
    header = msgspec.json.decode(msgspec.json.decode(body[8 : 8 + length])["__metadata__"]["floop"], type=_Header)
    rows = Transitions(**safetensors.numpy.load(body))
    return Take(rows=rows, **{name: getattr(header, name) for name in _Header.__struct_fields__})
