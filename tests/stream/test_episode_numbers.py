"""Numbers of episodes only grow, whatever the clock says."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from floop_robot.stream.episode_numbers import PER_START, first_episode

NOW_NS = time.time_ns()
YEAR_NS = 31_556_952 * 10**9


def test_numbers_grow_whatever_the_clock_says(tmp_path: Path) -> None:
    clocks = (NOW_NS, 0, -1, NOW_NS + 50 * YEAR_NS, NOW_NS - YEAR_NS, NOW_NS + 1, 2**70)
    numbers = [first_episode(tmp_path, lambda now_ns=now_ns: now_ns) for now_ns in clocks]
    assert numbers[0] == max(NOW_NS // 1_000_000, PER_START)
    assert all(after - before >= PER_START for before, after in itertools.pairwise(numbers))
    assert first_episode(tmp_path, lambda: NOW_NS + YEAR_NS) == (NOW_NS + YEAR_NS) // 1_000_000


def test_a_damaged_file_makes_them_grow_far(tmp_path: Path) -> None:
    first = first_episode(tmp_path)
    (tmp_path / "first_episode").write_bytes(b"rot")
    assert first_episode(tmp_path) > first + PER_START
