"""The driver is asked for the episode that the loop wants, and for none that it no longer wants."""

from __future__ import annotations

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces.srv import ResetEpisode
from floop_robot.robot.messages import ResetRequest
from floop_robot.ros.node.qos import CALLS
from floop_robot.ros.node.topics import RESET_EPISODE
from floop_robot.ros.policy.episode_reset_client import EpisodeResetClient
from tests.support.ros.peer import Peer


def test_an_episode_that_is_forgotten_at_once_is_not_asked_for(peer: Peer) -> None:
    asked: list[int] = []

    def reset(request: ResetEpisode.Request, answer: ResetEpisode.Response) -> ResetEpisode.Response:
        asked.append(request.episode)
        answer.message = "" if request.episode == 3 else "no more objects"
        return answer

    peer.node.create_service(ResetEpisode, RESET_EPISODE, reset, qos_profile=CALLS)
    client = EpisodeResetClient(peer.node)
    assert client._client.wait_for_service(timeout_sec=20.0)

    def send_and_forget() -> None:
        client.send(ResetRequest(episode=1))
        client.forget()

    looked = client._guard.callback
    looks: list[int] = []
    client._guard.callback = lambda: (looked(), looks.append(client.calls))
    peer.spun(send_and_forget)  # in the thread that calls: it looks only afterwards
    wait_for(lambda: looks, what="a look at what is wanted")
    assert looks == [0]
    for episode, refusal in ((2, "no more objects"), (3, "the driver refused without a reason")):
        client.send(ResetRequest(episode=episode))
        wait_for(lambda n=episode: client.answers == n - 1, what="the answer")
        assert client.refusal == refusal
    assert asked == [2, 3]
