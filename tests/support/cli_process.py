"""`floop …` as a process of its own, and Ctrl-C to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
STOP_S = 5.0
"""Within this everything has ended."""


@contextlib.contextmanager
def floop(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command in `folder`, in a process group of its own; killed in the end."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "envs", ROOT / "policies")))
    running = subprocess.Popen(
        [sys.executable, "-m", "floop_robot.cli", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,
    )
    try:
        yield running
    finally:
        running.kill()


def interrupt(running: subprocess.Popen[str]) -> str:
    """Ctrl-C: it ends in order and in time, with all it started; returns what it still wrote to stderr."""
    left = children(running)
    began = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=30)
    took = time.monotonic() - began
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert took < STOP_S
    wait_for(lambda: not any(map(is_running, left)), STOP_S - took, "the end of what it started")
    return err


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Every process below it."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_running(process: psutil.Process) -> bool:
    """Whether it still does anything."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
