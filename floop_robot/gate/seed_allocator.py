"""SeedAllocator: scenario seeds that no restart hands out twice, so no two trials share a scenario."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from floop_envs.seeds import Purpose, seed_of
from floop_robot.durable.number_file import NumberFile
from floop_robot.spec.errors import StorageError

BLOCK = 1000
"""Seeds reserved on disk at a time; a killed process wastes at most this many."""
_PER_RUN = 1_000_000
_RUNS = 10_000


def seeds_of_run(purpose: Purpose, run_seed: int) -> Iterator[int]:
    """Scenario seeds of one purpose and run, from the first on."""
    return (seed_of(purpose, run_seed, index) for index in range(_PER_RUN))


class SeedAllocator:
    """Hands out scenario seeds of one purpose; what was handed out is never handed out again."""

    def __init__(self, path: Path, purpose: Purpose, run_seed: int, share: int = 0) -> None:
        """`share`: place among processes of the same purpose, each with seeds of its own (up to 64).

        Raises `StorageError` when what was handed out before can't be known.
        """
        self._file, self._purpose = NumberFile(path), purpose
        self._first_run = run_seed + share * (_RUNS // 64)
        self._next = self._reserved = self._stored()

    def next(self) -> int:
        """Return the next seed; raises `StorageError` when it can't be reserved."""
        if self._next >= self._reserved:
            self._store(self._next + BLOCK)
            self._reserved = self._next + BLOCK
        run, index = divmod(self._next, _PER_RUN)
        self._next += 1
        return seed_of(self._purpose, (self._first_run + run) % _RUNS, index)

    def _stored(self) -> int:
        try:
            return max(0, self._file.load() or 0)
        except StorageError as error:
            raise StorageError(f"{error}; its seeds would be used twice, or use another run_dir") from None

    def _store(self, number: int) -> None:
        try:
            self._file.path.parent.mkdir(parents=True, exist_ok=True)
            self._file.store(number)
        except OSError as error:
            raise StorageError(f"cannot write {self._file.path}: {error.strerror}; free space there") from None
