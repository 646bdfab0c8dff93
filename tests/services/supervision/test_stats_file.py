"""Stats files: written where possible, and never a reason for a process to end."""

from __future__ import annotations

import logging
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.services.supervision.stats_file import StatsFile, read_newest_stats, read_stats
from floop_robot.spec.errors import StorageError


class Figures(msgspec.Struct, frozen=True):
    ticks: int
    comment: str = ""


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow: what a full disk answers to a write, but for the error's name."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    StatsFile[Figures](tmp_path, "robot_1.safety").write(Figures(3))
    assert read_stats(tmp_path, "robot_1.safety", Figures) == [Figures(3)]
    assert read_stats(tmp_path, "robot_1.policy", Figures) == []


def test_a_full_disk_ends_nothing_and_is_said_once(
    tmp_path: Path, full_disk: None, caplog: pytest.LogCaptureFixture
) -> None:
    file = StatsFile[Figures](tmp_path, "robot_1.safety")
    with caplog.at_level(logging.WARNING):
        for tick in range(3):
            file.write(Figures(tick), force=True)
    assert [r.getMessage().startswith("cannot write") for r in caplog.records] == [True]
    assert read_stats(tmp_path, "robot_1.safety", Figures) == []


def test_figures_come_again_when_the_disk_takes_them(tmp_path: Path) -> None:
    file = StatsFile[Figures](tmp_path, "gate")
    file.write(Figures(1), force=True)
    (tmp_path / "stats").rename(tmp_path / "away")
    file.write(Figures(2), force=True)
    (tmp_path / "away").rename(tmp_path / "stats")
    file.write(Figures(3), force=True)
    assert read_stats(tmp_path, "gate", Figures) == [Figures(3)]


def test_damaged_figures_are_named_once_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    StatsFile[Figures](tmp_path, "gate").write(Figures(7))
    [path] = (tmp_path / "stats").glob("*.stats")
    sound = path.read_bytes()
    for bit in range(8 * len(sound)):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        caplog.clear()
        for _ in range(2):
            assert read_stats(tmp_path, "gate", Figures) == [] and read_newest_stats(tmp_path, "gate", Figures) is None
        assert len(caplog.messages) == 1 and str(path) in caplog.messages[0]
    path.write_bytes(msgspec.msgpack.encode(Figures(8)))  # of an earlier floop
    assert read_newest_stats(tmp_path, "gate", Figures) == Figures(8)


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "stats").write_text("a file")
    with pytest.raises(StorageError, match="choose a writable run_dir"):
        StatsFile[Figures](tmp_path, "gate")


def test_figures_of_the_latest_starts_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("floop_robot.services.supervision.stats_file.KEPT_STARTS", 3)
    folder = tmp_path / "stats"
    folder.mkdir()
    for pid in range(1, 9):
        path = folder / f"gate~{pid}.stats"
        path.write_bytes(b"")
        os.utime(path, (pid, pid))
    (folder / "gate_keeper~1.stats").write_bytes(b"")
    StatsFile(tmp_path, "gate")
    assert sorted(path.name for path in folder.iterdir()) == [
        "gate_keeper~1.stats",
        *(f"gate~{pid}.stats" for pid in (6, 7, 8)),
    ]
