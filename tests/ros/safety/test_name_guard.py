"""Two hosts with one robot's name in one ROS domain: the later safety node ends, the first goes on. Real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces import msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, RobotRig

UP_S = 30.0


@pytest.mark.timeout(120)
def test_the_later_of_two_hosts_ends_in_one_line_and_a_restart_does_not(tmp_path: Path, domain: int) -> None:
    left, right, peer = RobotRig(tmp_path / "left", domain), RobotRig(tmp_path / "right", domain), Peer(domain)
    heard = peer.listen(msg.RobotHost, f"/{ROBOT}/{topics.ROBOT_HOST}", LATCHED)
    try:
        left.start_arm()
        wait_for(lambda: any("left" in each.host for each in heard), UP_S, "the first")
        right.start_arm()
        second = right.nodes["safety_node"].process
        assert second.wait(UP_S) == 2
        last = right.nodes["safety_node"].text.strip().splitlines()[-1]
        assert f"safety_node: {ROBOT} is served in this ROS domain already, by " in last
        assert str(tmp_path / "left") in last and "give this robot another name" in last
        first = left.nodes["safety_node"]
        wait_for(
            lambda: "is in this ROS domain; it is refused" in left.nodes["safety_node"].text, UP_S, "the first's word"
        )
        assert first.process.poll() is None
        first.kill()
        left.start_again("safety_node")
        heard.clear()
        wait_for(lambda: any(each.uptime_s > 2.0 for each in heard), UP_S, "the restarted one at work")
        assert left.nodes["safety_node"].process.poll() is None
    finally:
        for rig in (left, right, peer):
            rig.close()
