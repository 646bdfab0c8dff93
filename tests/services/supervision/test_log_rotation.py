"""Logs of running processes stay within their bound, and nothing is written twice."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.services.supervision import log_rotation
from floop_robot.services.supervision.log_rotation import rotate_log
from tests.support.waiting import wait_for

WRITER = "import sys, time\nfor i in range(10**9):\n    print(i, 'x' * 80, flush=True)\n    time.sleep(0.0005)\n"


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "gate.log"
    with path.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", WRITER], stdout=log)
    yield path
    process.kill()
    process.wait()


def numbers(data: bytes) -> list[int]:
    """Of whole lines: the one that is written while the file is cut can be torn."""
    return [int(number) for number in re.findall(rb"^(\d+) x{80}$", data, re.MULTILINE)]


def test_a_log_that_is_written_stays_within_its_bound_and_in_order(writer: Path) -> None:
    previous = writer.with_name("gate.log.1")
    total, most = 0, 0
    while total < 6:
        total += rotate_log(writer, 40_000)
        most = max(most, writer.stat().st_size + (previous.stat().st_size if previous.exists() else 0))
    assert most < 60_000  # a look each 2 s would let more pass; here it looks without a pause
    wait_for(lambda: writer.stat().st_size > 1000)
    found = numbers(previous.read_bytes()) + numbers(writer.read_bytes())
    gaps = [b - a for a, b in itertools.pairwise(found) if b != a + 1]
    assert found == sorted(set(found)) and sum(gaps) <= 20, "at most the lines between copy and cut are lost"
    assert sorted(p.name for p in writer.parent.iterdir()) == ["gate.log", "gate.log.1"]


def test_small_and_missing_logs_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gate.log"
    assert not rotate_log(path, 100)
    path.write_bytes(b"x" * 50)
    assert not rotate_log(path, 100) and path.stat().st_size == 50


def test_on_a_full_disk_the_bound_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gate.log"
    path.write_bytes(b"x" * 1000)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(log_rotation.shutil, "copyfileobj", full)
    assert rotate_log(path, 100)
    assert path.stat().st_size == 0 and [p.name for p in tmp_path.iterdir()] == ["gate.log"]
