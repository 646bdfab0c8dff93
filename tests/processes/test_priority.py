from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.processes.priority import weigh_session

pytestmark = pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the kernel has no autogroups")


@pytest.fixture
def session() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def told(pid: int) -> str:
    """What the kernel says of a process's session; nothing where that session has no autogroup, as the first one."""
    return Path(f"/proc/{pid}/autogroup").read_text()


def test_a_session_is_given_its_nice_value_again_and_again(session: subprocess.Popen[bytes]) -> None:
    for nice in (3, 10, 7):
        assert weigh_session(session.pid, nice)
        assert int(told(session.pid).split()[-1]) == nice


def test_the_session_of_somebody_else_is_left_alone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        before = told(child.pid)
        assert not weigh_session(child.pid, 10)
        assert told(child.pid) == before
    finally:
        child.kill()
        child.wait()
