"""What is done beside the executor: what it raises is raised, and nobody takes what is unfinished for done."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from rclpy.callback_groups import ReentrantCallbackGroup
from std_srvs.srv import Trigger

from floop_robot.ros.node import async_condition
from floop_robot.ros.node.async_condition import AsyncCondition
from tests.support.ros.peer import Peer


class ThreadService:
    """A service that has `work` done in a thread, and tells what came of it."""

    def __init__(self, peer: Peer, work: Callable[[], None], timeout_s: float = 20.0) -> None:
        self.condition, self.peer, self._work, self._timeout_s = AsyncCondition(peer.node), peer, work, timeout_s
        peer.node.create_service(Trigger, "service", self._serve, callback_group=ReentrantCallbackGroup())

    async def _serve(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        try:
            answer.success = await self.condition.run_in_thread(self._work, self._timeout_s)
        except ValueError as error:
            answer.message = str(error)
        return answer

    def call(self):
        return self.peer.send(Trigger, "service", Trigger.Request())


def test_what_it_raises_is_raised(peer: Peer) -> None:
    def fail() -> None:
        raise ValueError("no such thing")

    answer = peer.result(ThreadService(peer, fail).call())
    assert (answer.success, answer.message) == (False, "no such thing")


def functions_of(thread: threading.Thread) -> list[str]:
    """What it is in just now, the innermost last."""
    frame = sys._current_frames().get(thread.ident or 0)
    return [each.name for each in traceback.extract_stack(frame)] if frame else []


def test_closing_waits_for_what_ends_soon(peer: Peer) -> None:
    begun, go_on = threading.Event(), threading.Event()
    service = ThreadService(peer, lambda: (begun.set(), go_on.wait(20.0)))
    answer = service.call()
    wait_for(begun.is_set)
    closing = threading.Thread(target=service.condition.close, name="closing")
    closing.start()
    go_on.set()
    assert peer.result(answer).success
    closing.join()
    later = peer.result(service.call())
    assert not later.success  # not begun any more


def test_what_is_unfinished_is_not_taken_for_done(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_condition, "END_S", 0.1)
    begun, go_on = threading.Event(), threading.Event()
    service = ThreadService(peer, lambda: (begun.set(), go_on.wait(20.0)))
    answer = service.call()
    wait_for(begun.is_set)
    service.condition.close()
    assert not peer.result(answer).success
    go_on.set()


def test_what_takes_too_long_is_not_waited_for_and_still_counted(peer: Peer) -> None:
    go_on = threading.Event()
    service = ThreadService(peer, lambda: (go_on.wait(20.0), None)[1], timeout_s=0.1)
    assert [peer.result(service.call()).success for _ in "ab"] == [False, False]
    assert service.condition.running_threads == 2
    go_on.set()
    wait_for(lambda: service.condition.running_threads == 0)


def test_what_comes_while_it_closes_is_not_begun(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_condition, "END_S", 20.0)
    begun, go_on = list[int](), threading.Event()
    service = ThreadService(peer, lambda: (begun.append(1), go_on.wait(20.0)))
    first = service.call()
    wait_for(lambda: begun)
    closing = threading.Thread(target=service.condition.close, name="closing")
    closing.start()
    wait_for(lambda: "join" in functions_of(closing), what="closing that waits for the first")
    assert not peer.result(service.call()).success and begun == [1]
    assert closing.is_alive() and not first.done()
    go_on.set()
    assert peer.result(first).success
    closing.join()


def test_nobody_waits_for_what_has_closed(peer: Peer) -> None:
    condition = AsyncCondition(peer.node)
    condition.close()
    for holds in (False, True):
        with pytest.raises(StopIteration) as ended:  # it ends without waiting
            condition.wait_for(lambda h=holds: h, 60.0).send(None)
        assert ended.value.value is holds
