"""A reset with the same call_id is judged once; who repeats it while it is judged waits no longer than it may take."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from rclpy.task import Future

from floop_interfaces.srv import SetEstop
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.safety import estop_reset_cache
from floop_robot.ros.safety.estop_reset_cache import EstopResetCache
from tests.support.ros.peer import Peer


def request(call_id: str) -> SetEstop.Request:
    return SetEstop.Request(who="anna", token="secret", call_id=call_id)


def says(verdict: str) -> Callable[[], Awaitable[str]]:
    async def judge() -> str:
        return verdict

    return judge


def test_a_repeat_has_no_verdict_while_the_first_is_judged_for_too_long(peer: Peer) -> None:
    cache = EstopResetCache[str](AsyncCondition(peer.node), longest_s=0.05)
    begun, judged = list[int](), Future()

    async def slow() -> str:
        begun.append(1)
        await judged
        return "reset"

    first = peer._executor.create_task(cache.once, request("a"), slow)
    wait_for(lambda: begun, what="the first being judged")
    assert peer.spun(cache.once, request("a"), says("another")) == (None, False)
    assert not first.done()
    peer.spun(judged.set_result, None)
    assert peer.result(first) == ("reset", True)
    assert peer.spun(cache.once, request("a"), says("another")) == ("reset", False)


def test_of_too_many_only_those_are_forgotten_that_came_long_ago(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estop_reset_cache, "MAX_CALLS", 2)
    cache = EstopResetCache[str](AsyncCondition(peer.node), longest_s=20.0)
    for call_id in ("a", "b", "c"):
        assert peer.spun(cache.once, request(call_id), says(f"first {call_id}")) == (f"first {call_id}", True)
    # All came just now.
    assert peer.spun(cache.once, request("a"), says("again")) == ("first a", False)
    later_s = time.monotonic() + 60.0
    monkeypatch.setattr(estop_reset_cache, "time", SimpleNamespace(monotonic=lambda: later_s))
    assert peer.spun(cache.once, request("d"), says("first d")) == ("first d", True)
    assert peer.spun(cache.once, request("c"), says("again")) == ("first c", False)
    assert peer.spun(cache.once, request("a"), says("again")) == ("again", True)
