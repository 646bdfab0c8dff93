"""SeedAllocator: no seed is handed out twice, over kills and among processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_envs.seeds import Purpose, seed_of
from floop_robot.gate.seed_allocator import BLOCK, SeedAllocator, seeds_of_run
from floop_robot.spec.errors import StorageError


def test_a_killed_process_never_uses_a_seed_twice(tmp_path: Path) -> None:
    path = tmp_path / "next_seed"
    first = SeedAllocator(path, Purpose.EXPLORER, 3)
    used = [first.next() for _ in range(BLOCK + 5)]
    again = SeedAllocator(path, Purpose.EXPLORER, 3)
    other = SeedAllocator(tmp_path / "other", Purpose.EXPLORER, 3, share=1)
    later, others = [again.next() for _ in range(10)], [other.next() for _ in range(10)]
    assert len({*used, *later, *others}) == len(used) + 20
    first, last = seed_of(Purpose.EXPLORER, 0, 0), seed_of(Purpose.EXPLORER, 9_999, 999_999)
    assert all(first <= s <= last for s in (*used, *later, *others))


@pytest.mark.parametrize("stored", [b"", b"12x4", b"\xff"])
def test_seeds_that_cannot_be_known_are_not_guessed(tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / "next_seed"
    path.write_bytes(stored)
    with pytest.raises(StorageError, match="next_seed"):
        SeedAllocator(path, Purpose.EXPLORER, 3)


def test_seeds_of_a_run_begin_with_its_first() -> None:
    seeds = seeds_of_run(Purpose.VALIDATION, 7)
    assert [next(seeds), next(seeds)] == [seed_of(Purpose.VALIDATION, 7, 0), seed_of(Purpose.VALIDATION, 7, 1)]
