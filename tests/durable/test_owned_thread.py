"""A long-running thread that an error does not end for good."""

from __future__ import annotations

import logging
import threading

import pytest

from floop_robot.durable.owned_thread import OwnedThread, thread_restarts
from tests.support.waiting import wait_for


def test_work_that_raises_is_said_in_one_line_and_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    stop, calls = threading.Event(), list[int]()

    def work() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OverflowError("two lines\nof text")
        stop.wait()

    thread = OwnedThread(work, "digger", stop)
    with caplog.at_level(logging.ERROR):
        thread.start()
        wait_for(lambda: len(calls) == 3, what="the third call")
    assert thread.restarts == 2 and thread_restarts() == {"digger": 2}
    assert "OverflowError: two lines of text (test_owned_thread.py:" in thread.fault
    assert len(caplog.messages) == 1 and "\n" not in caplog.messages[0]  # the same error is not said again at once
    assert caplog.messages[0].startswith("digger ended unexpectedly: OverflowError: two lines of text")
    stop.set()
    thread.join(5.0)
    assert not thread.is_alive() and thread_restarts() == {}


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError(), KeyboardInterrupt()])
def test_nothing_that_is_raised_ends_it(error: BaseException) -> None:
    stop, calls = threading.Event(), list[int]()

    def work() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise error
        stop.wait()

    thread = OwnedThread(work, "digger", stop)
    thread.start()
    wait_for(lambda: len(calls) == 2, what="the second call")
    stop.set()
    thread.join(5.0)
    assert not thread.is_alive()


def test_it_ends_when_its_work_is_done_or_its_owner_has_ended() -> None:
    stop = threading.Event()
    thread = OwnedThread(lambda: None, "digger", stop)
    thread.start()
    thread.join(5.0)
    assert not thread.is_alive() and not thread.restarts

    def work() -> None:
        stop.wait()
        raise OSError("its socket was closed")

    thread = OwnedThread(work, "digger", stop)
    thread.start()
    stop.set()
    thread.join(5.0)
    assert not thread.is_alive() and not thread.restarts
