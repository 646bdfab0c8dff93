"""ResetIds: ids are remembered over restarts, bounded, and never guessed from a file that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.robot.reset_ids import MAX_IDS, ResetIds
from floop_robot.spec.errors import StorageError


@pytest.mark.parametrize("call_id", ["", "a", "x" * 10_000, "two\nlines", "\udc80"])
def test_an_id_is_known_after_a_restart(tmp_path: Path, call_id: str) -> None:
    path = tmp_path / "releases"
    ids = ResetIds(path)
    assert call_id not in ids
    ids.add(call_id)
    assert call_id in ids
    assert call_id in ResetIds(path)
    assert "another" not in ResetIds(path)


def test_without_a_file_ids_are_known_to_this_process_only() -> None:
    ids = ResetIds(None)
    ids.add("a")
    assert "a" in ids
    assert "a" not in ResetIds(None)


def test_the_latest_ids_are_kept(tmp_path: Path) -> None:
    ids = ResetIds(tmp_path / "releases")
    for number in range(MAX_IDS + 1):
        ids.add(str(number))
    again = ResetIds(tmp_path / "releases")
    assert "0" not in again
    assert "1" in again and str(MAX_IDS) in again


def test_a_damaged_file_is_reported_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "releases"
    ResetIds(path).add("a")
    path.write_bytes(path.read_bytes() + b"half a line\n")
    damaged = ResetIds(path)
    assert "a" in damaged
    with pytest.raises(StorageError, match="was damaged"):
        damaged.add("b")
    repaired = ResetIds(path)
    repaired.add("c")
    assert all(each in repaired for each in "abc")


def test_a_file_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "releases"
    path.mkdir()
    ids = ResetIds(path)
    with pytest.raises(StorageError, match="cannot read"):
        _ = "a" in ids
    with pytest.raises(StorageError, match="cannot read"):
        ids.add("a")
    path.rmdir()
    ids.add("a")
    assert "a" in ids
