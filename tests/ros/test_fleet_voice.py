"""The fleet's voice goes on, and says why, when something cannot be said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from conditions import wait_for
from reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from peer import Peer

from floop_interfaces import msg
from floop_robot.nodes import topics
from floop_robot.nodes.fleet_voice import FleetVoice
from floop_robot.nodes.qos import LATCHED
from floop_robot.rollout import FleetClient, FleetStatus
from floop_robot.rollout.asking import Asker
from floop_robot.rollout.messages import REPLIES, Heartbeat, Target
from tests.bundle.making import IDS
from tests.rollout.parts import ManagerThread


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerThread]:
    made = ManagerThread(tmp_path)
    yield made
    made.stop()


class Miscounting(FleetClient):
    """Says of each robot what no message can hold, until told otherwise."""

    successes = -1

    def status(self) -> FleetStatus:
        said = super().status()
        robots = tuple(msgspec.structs.replace(robot, successes=self.successes) for robot in said.robots)
        return msgspec.structs.replace(said, robots=robots)


def test_a_state_that_fits_no_message_is_said_as_soon_as_it_does(manager: ManagerThread, domain: int) -> None:
    with contextlib.ExitStack() as opened:
        peer = opened.enter_context(contextlib.closing(Peer(domain)))
        heard = peer.listen(msg.FleetState, topics.FLEET_STATE, LATCHED)
        client = opened.enter_context(Miscounting(manager.rpc))
        asker = opened.enter_context(contextlib.closing(Asker(manager.rpc, REPLIES)))
        assert asker.ask(Heartbeat(robot="robot_1", boot_id="b", contract=IDS.contract, version=1), Target, 20)
        voice = opened.enter_context(FleetVoice(peer.node, client))
        wait_for(lambda: "cannot be said" in voice.silent, 20, "the fault being told")
        assert not heard
        client.successes = 0
        wait_for(lambda: heard and not voice.silent, 20, "the state being said")
        assert [robot.robot for robot in heard[-1].robots] == ["robot_1"]
