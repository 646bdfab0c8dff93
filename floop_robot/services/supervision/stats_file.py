"""StatsFile: what a process counts, kept where the screen and the report can read it.

One small msgpack file (JSON has no NaN) per process and boot below `RUN_DIR/stats/`, replaced atomically, so a process
that is killed loses at most the last interval and its successor starts a file of its own.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from floop_robot.durable.files import replace_file
from floop_robot.durable.framing import pack
from floop_robot.spec.errors import StorageError

log = logging.getLogger(__name__)

T = TypeVar("T", bound=msgspec.Struct)
WRITE_INTERVAL_S = 0.5


class StatsFile(Generic[T]):
    """Writes a struct at most every `WRITE_INTERVAL_S`."""

    def __init__(self, run_dir: Path, process: str) -> None:
        """Raises `StorageError` when there can be no such folder."""
        folder = run_dir / "stats"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {folder}: {error.strerror}; choose a writable run_dir") from None
        self._path = folder / f"{process}~{os.getpid()}.stats"
        self._due_s = 0.0
        self._fails = False

    def write(self, stats: T, *, force: bool = False) -> None:
        """Replace the file by `stats` when it is time to (always with `force`).

        A disk that does not take it is said once: nobody's work, least of all the safety process's, ends for figures.
        """
        now = time.monotonic()
        if now < self._due_s and not force:
            return
        self._due_s = now + WRITE_INTERVAL_S
        try:
            replace_file(self._path, pack(stats), sync=False)
        except OSError as error:
            if not self._fails:
                log.warning("cannot write %s: %s; figures are missing until it can be", self._path, error.strerror)
            self._fails = True
            return
        self._fails = False


def read_stats(run_dir: Path, process: str, kind: type[T]) -> list[T]:
    """What every boot of `process` counted, oldest first."""
    found = sorted((run_dir / "stats").glob(f"{process}~*.stats"), key=lambda p: p.stat().st_mtime)
    return [msgspec.msgpack.decode(p.read_bytes(), type=kind) for p in found]


def stats_age_s(run_dir: Path, process: str) -> float | None:
    """How long ago the last boot of `process` wrote its figures, s; None if none ever did."""
    stamps = [path.stat().st_mtime for path in (run_dir / "stats").glob(f"{process}~*.stats")]
    return time.time() - max(stamps) if stamps else None
