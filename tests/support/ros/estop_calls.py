"""Stop a robot by its service, and reset and start it as a person does."""

from __future__ import annotations

import contextlib
from typing import Any

from floop_interfaces import srv
from floop_robot.ros.node import topics
from tests.support.operator_tokens import TOKEN, WHO
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT
from tests.support.waiting import wait_for


def reset_request(state: Any, **changes: str) -> srv.ResetEstop.Request:
    """The reset of the stop in an `EstopState`, by an operator who has a token."""
    return srv.ResetEstop.Request(
        **({"stop_id": state.stop_id, "nonce": state.nonce, "who": WHO, "token": TOKEN, "why": "test"} | changes)
    )


def stop_robot(peer: Peer, robot: str = ROBOT) -> Any:
    """Call `stop`; the answer."""
    return peer.call(srv.StopRobot, f"/{robot}/{topics.STOP}", srv.StopRobot.Request(who=WHO, why="test"))


def reset_robot(peer: Peer, robot: str = ROBOT) -> Any:
    """Stop it once more, and reset that; the answer. So the arm may move whatever had stopped it."""
    answer = stop_robot(peer, robot)
    return peer.call(srv.ResetEstop, f"/{robot}/{topics.RESET_ESTOP}", reset_request(answer.state))


def start_robot(peer: Peer, robot: str = ROBOT) -> None:
    """Reset a real arm and start it."""
    done = reset_robot(peer, robot)
    assert done.success and done.state.start_required, done.message
    request = srv.StartEpisode.Request(who=WHO, token=TOKEN)

    def started() -> bool:
        with contextlib.suppress(AssertionError):  # of a server that was killed a ghost stays, which swallows calls
            return bool(peer.call(srv.StartEpisode, f"/{robot}/{topics.START_EPISODE}", request, 15.0).success)
        return False

    wait_for(started, 60.0, "a start")
