"""StatsFile: the figures of one process, in a file that the screen, the report and `floop health` read.

There is one small msgpack file (JSON has no NaN) for each start of a process, below `RUN_DIR/stats/`.
It is replaced atomically: a killed process loses the figures of at most one interval.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from floop_robot.durable.framing import pack
from floop_robot.spec.errors import StorageError

log = logging.getLogger(__name__)

T = TypeVar("T", bound=msgspec.Struct)
WRITE_INTERVAL_S = 0.5
KEPT_STARTS = 100
"""Starts of a process whose figures are kept: one that dies again and again must not fill the folder."""


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
            self._new.write_bytes(pack(stats))  # one writer a file: its name needs no random part
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
    """Read the figures of every start of `process`, oldest first."""
    found = sorted((run_dir / "stats").glob(f"{process}~*.stats"), key=lambda p: p.stat().st_mtime)
    return [msgspec.msgpack.decode(p.read_bytes(), type=kind) for p in found]


def stats_age_s(run_dir: Path, process: str) -> float | None:
    """Seconds since `process` last wrote its figures; None if it never did."""
    stamps = [path.stat().st_mtime for path in (run_dir / "stats").glob(f"{process}~*.stats")]
    return time.time() - max(stamps) if stamps else None
