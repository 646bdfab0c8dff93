"""Ctrl-C during long work: it ends within 5 s, without a traceback, and leaves no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.cli.running import PICK
from tests.conditions import wait_for

ROOT = Path(__file__).parents[2]
STOP_S = 5.0


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
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "envs", ROOT / "policies")))
    running = subprocess.Popen(
        [sys.executable, "-m", "floop_robot.cli", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,  # a process group of its own, as a shell gives it
    )
    me = psutil.Process(running.pid)
    try:
        # It is at work once it, or its workers, have computed for a while.
        wait_for(lambda: _cpu_s(me) > 5.0, 60.0, "its work")
        left = me.children(recursive=True)
        began = time.monotonic()
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=30)
        took = time.monotonic() - began
    finally:
        running.kill()
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1] == "stopped"
    assert took < STOP_S
    wait_for(lambda: not any(map(_runs, left)), STOP_S - took, "the end of its helpers")


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _cpu_s(process: psutil.Process) -> float:
    times = [p.cpu_times() for p in (process, *process.children(recursive=True))]
    return sum(t.user + t.system for t in times)
