"""StatsFile: the figures of one process, in a file that the screen, the report and `floop health` read.

There is one small msgpack file (JSON has no NaN) for each start of a process, below `RUN_DIR/stats/`, with a CRC.
It is replaced atomically: a killed process loses the figures of at most one interval.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from floop_robot.durable.framing import deframe, frame, pack
from floop_robot.durable.newest_file import set_aside
from floop_robot.durable.owned_thread import thread_restarts
from floop_robot.spec.errors import StorageError

log = logging.getLogger(__name__)

T = TypeVar("T", bound=msgspec.Struct)
WRITE_INTERVAL_S = 0.5
KEPT_STARTS = 100
"""Starts of a process whose figures are kept: one that dies again and again must not fill the folder."""
_MAGIC = b"FLT1"
_STRUCTS = (0x80, 0x90, 0xD0)
"""How the first byte of a file of an earlier floop begins: a map or an array of msgpack."""


class _StatsContent(msgspec.Struct, frozen=True):
    stats: msgspec.Raw
    restarts: dict[str, int] = {}


class StatsFile(Generic[T]):
    """Writes a struct at most every `WRITE_INTERVAL_S`."""

    def __init__(self, run_dir: Path, process: str) -> None:
        """Create the folder; raises `StorageError`."""
        folder = run_dir / "stats"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {folder}: {error.strerror}; choose a writable run_dir") from None
        _forget_old(folder, process)
        self._path = folder / f"{process}~{os.getpid()}.stats"
        self._new = self._path.with_suffix(".new")
        self._due_s = 0.0
        self._fails = False

    def write(self, stats: T, *, force: bool = False) -> None:
        """Replace the file with `stats` when the interval is over, or at once with `force`.

        A disk error is logged once and not raised: no process stops because of its figures.
        """
        now = time.monotonic()
        if now < self._due_s and not force:
            return
        self._due_s = now + WRITE_INTERVAL_S
        try:
            body = pack({"stats": stats, "restarts": thread_restarts()})
            self._new.write_bytes(_MAGIC + frame(body))  # one writer a file: its name needs no random part
            self._new.replace(self._path)
        except OSError as error:
            if not self._fails:
                log.warning("cannot write %s: %s; its figures are out of date until it can", self._path, error.strerror)
            self._fails = True
            return
        self._fails = False


def _forget_old(folder: Path, process: str) -> None:
    """Remove the files of all but the latest starts."""
    found = sorted(folder.glob(f"{process}~*.stats"), key=lambda path: path.stat().st_mtime)
    for path in found[:-KEPT_STARTS]:
        path.unlink(missing_ok=True)


def read_stats(run_dir: Path, process: str, kind: type[T]) -> list[T]:
    """Read the figures of every start of `process`, oldest first; damaged files are left out and named in the log."""
    found = [_stats(path, kind) for path in _files(run_dir, process)]
    return [each for each in found if each is not None]


def read_newest_stats(run_dir: Path, process: str, kind: type[T]) -> T | None:
    """Read the figures of the last start of `process`; None when it has written none, or they are damaged."""
    files = _files(run_dir, process)
    return _stats(files[-1], kind) if files else None


def read_thread_restarts(run_dir: Path, process: str) -> dict[str, int]:
    """Threads of the last start of `process` that ended unexpectedly and were started again, and how often."""
    files = _files(run_dir, process)
    content = _read(files[-1]) if files else None
    return content.restarts if content else {}


def _files(run_dir: Path, process: str) -> list[Path]:
    stamps = {}
    for path in (run_dir / "stats").glob(f"{process}~*.stats"):
        with contextlib.suppress(OSError):  # just removed
            stamps[path] = path.stat().st_mtime
    return sorted(stamps, key=stamps.__getitem__)


def _stats(path: Path, kind: type[T]) -> T | None:
    content = _read(path)
    try:
        return None if content is None else msgspec.msgpack.decode(content.stats, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.debug("%s holds other figures (%s); they are left out", path, error)
        return None


def _read(path: Path) -> _StatsContent | None:
    try:
        data = path.read_bytes()
        if not data.startswith(_MAGIC) and data and data[0] & 0xF0 in _STRUCTS:  # of an earlier floop
            return _StatsContent(msgspec.Raw(data))
        body = deframe(data[len(_MAGIC) :]) if data.startswith(_MAGIC) else None
        if body is None:
            log.warning("%s is damaged; it is set aside, and its figures are left out", path)
            set_aside(path)
            return None
        return msgspec.msgpack.decode(body, type=_StatsContent)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.debug("cannot read %s (%s); its figures are left out", path, error)
        return None


def stats_age_s(run_dir: Path, process: str) -> float | None:
    """Seconds since `process` last wrote its figures; None if it never did."""
    stamps = [path.stat().st_mtime for path in (run_dir / "stats").glob(f"{process}~*.stats")]
    return time.time() - max(stamps) if stamps else None
