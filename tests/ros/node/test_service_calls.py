"""A command that is repeated has one effect, as long as its answer is kept; the oldest answers go first."""

from __future__ import annotations

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces.srv import LabelEpisode
from floop_robot.ros.node import service_calls
from floop_robot.ros.node.service_calls import IdempotentServices
from tests.support.ros.peer import Peer


def test_the_oldest_answers_are_forgotten_first(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_calls, "MAX_CACHED_ANSWERS", 2)
    effects: list[str] = []

    async def label(request: LabelEpisode.Request, answer: LabelEpisode.Response) -> None:
        effects.append(request.call_id)
        answer.message = f"effect {len(effects)}"

    services = IdempotentServices(peer.node, [(LabelEpisode, "label", label)], lambda who, token: "")

    def call(call_id: str) -> str:
        answer = peer.call(LabelEpisode, "label", LabelEpisode.Request(who="anna", call_id=call_id))
        assert answer.success
        return str(answer.message)

    assert [call(i) for i in ("a", "b", "a")] == ["effect 1", "effect 2", "effect 1"]
    assert call("c") == "effect 3"
    assert [call(i) for i in ("b", "c", "a")] == ["effect 2", "effect 3", "effect 4"]
    assert effects == ["a", "b", "c", "a"] and services is not None
