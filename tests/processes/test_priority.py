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


def nice_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])


def test_a_session_is_given_its_nice_value_again_and_again(session: subprocess.Popen[bytes]) -> None:
    for nice in (3, 10, 7):
        assert weigh_session(session.pid, nice)
        assert nice_of(session.pid) == nice


def test_the_session_of_somebody_else_is_left_alone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        before = nice_of(child.pid)
        assert not weigh_session(child.pid, 10)
        assert nice_of(child.pid) == before
    finally:
        child.kill()
        child.wait()
