"""MonitorFile: return and length of every training episode, in the format of stable-baselines3's Monitor.

`stable_baselines3.common.results_plotter.plot_results` and others read it.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec

from floop_robot.bundle import write_atomic
from floop_robot.spec.errors import StorageError
from floop_robot.train.run_counters import RecentEpisode

_HEADER_LINES = 2


class MonitorFile:
    """Appends a line for each episode. Use it as a context."""

    def __init__(self, path: Path, env_id: str, episodes: int = 0, elapsed_s: float = 0.0) -> None:
        """Go on after the first `episodes` episodes; raises `StorageError`."""
        self._path, self._started = path, time.monotonic() - elapsed_s
        try:
            lines = path.read_text().splitlines(keepends=True)[: _HEADER_LINES + episodes] if episodes else []
            head = msgspec.json.encode({"t_start": time.time() - elapsed_s, "env_id": env_id}).decode()
            header = [f"#{head}\n", "r,l,t\n"]
            write_atomic(path, "".join(lines or header).encode())
            self._file = path.open("a", buffering=1)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; free space") from None

    def __enter__(self) -> MonitorFile:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # of a full disk
            self._file.close()

    def write(self, episode: RecentEpisode) -> None:
        """Add an episode that ended; raises `StorageError`."""
        try:
            self._file.write(f"{episode.total_reward:.6f},{episode.steps},{time.monotonic() - self._started:.3f}\n")
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}; free space") from None
