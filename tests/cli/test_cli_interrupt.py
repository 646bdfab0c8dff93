"""Ctrl-C during a long command: it ends within 5 s, without a traceback, and leaves no process."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.cli_in_process import PICK
from tests.support.cli_process import floop, interrupt
from tests.support.waiting import wait_for


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--seed", "3", "--out", "trained"],
        ["validate", str(PICK), "--episodes", "5000", "--workers", "2"],
        ["validate", str(PICK), "--episodes", "5000"],
    ],
    ids=["train", "validate with workers", "validate"],
)
def test_ctrl_c_ends_it(words: list[str], tmp_path: Path) -> None:
    with floop(tmp_path, *words) as running:
        # It has begun when it, or its workers, have used some processor time; imports may take as much.
        wait_for(lambda: _cpu_s(psutil.Process(running.pid)) > 5.0, 60.0, "its start")
        if words[0] == "train":
            wait_for(lambda: _episodes(tmp_path / "trained" / "monitor.csv") > 0, 180.0, "its first episode")
        last = interrupt(running).strip().splitlines()[-1]
        if words[0] == "train":
            kept = r"stopped; the policy of \d+ steps is in trained; go on with floop train --resume trained"
            assert re.fullmatch(kept, last)
            assert (tmp_path / "trained" / "policy.floop").is_file()
        else:
            assert last == "stopped"
            assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_sigterm_during_imports_is_one_line(tmp_path: Path) -> None:
    with floop(tmp_path, "train", "--env", "Pendulum-v1", "--out", "trained") as running:
        wait_for(lambda: _catches(running.pid, signal.SIGTERM), 60.0, "its handler")
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=20)
    assert (running.returncode, err.strip()) == (143, "stopped")


def _episodes(monitor: Path) -> int:
    """Whole lines of a monitor file but its two of head."""
    return max(0, monitor.read_text().count("\n") - 2) if monitor.exists() else 0


def _catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1)


def _cpu_s(process: psutil.Process) -> float:
    times = [p.cpu_times() for p in (process, *process.children(recursive=True))]
    return sum(t.user + t.system for t in times)
