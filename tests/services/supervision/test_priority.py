from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.services.supervision.priority import NiceResult, has_session_nice, set_session_nice
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the kernel has no autogroups")


@pytest.fixture
def session() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def autogroup(pid: int) -> str:
    """What the kernel says of a process's session; nothing where that session has no autogroup, as the first one."""
    return Path(f"/proc/{pid}/autogroup").read_text()


def test_a_session_is_given_its_nice_value_again_and_again(session: subprocess.Popen[bytes]) -> None:
    assert not has_session_nice(session.pid)
    for nice in (3, 10, 7):
        wait_for(lambda nice=nice: set_session_nice(session.pid, nice) is NiceResult.APPLIED)
        assert int(autogroup(session.pid).split()[-1]) == nice
        assert has_session_nice(session.pid)


def test_the_session_of_somebody_else_is_left_alone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        before = autogroup(child.pid)
        assert set_session_nice(child.pid, 10) is NiceResult.NOT_NEEDED
        assert autogroup(child.pid) == before
    finally:
        child.kill()
        child.wait()


def test_nothing_waits_for_the_kernel_and_what_it_does_not_accept_is_reported(session: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    assert set_session_nice(session.pid, 100) is NiceResult.REFUSED
    found = {set_session_nice(session.pid, 3) for _ in range(20)}
    assert time.monotonic() - began < 1.0
    assert found <= {NiceResult.APPLIED, NiceResult.RETRY}
    session.kill()
    session.wait()
    assert set_session_nice(session.pid, 3) is NiceResult.NOT_NEEDED


def test_a_process_says_that_its_session_got_no_priority() -> None:
    program = (
        "from floop_robot.services.supervision.priority import raise_priority\nraise_priority(19)\nraise_priority(20)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, start_new_session=True)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1 and "does not accept nice 20 for this session" in done.stderr
