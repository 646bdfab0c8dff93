"""Wrong descriptions of five arms at the real safety node: each start ends with the field's name and moves nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from floop_robot.services.supervision.ros_domain import reserved_domain
from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from floop_interfaces import msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED, SENSOR
from floop_robot.ros.node.stamps import header
from floop_robot.services.entry import USER_ERROR
from floop_robot.spec.config import RobotConfig
from floop_robot.spec.robot_model import RobotModel, load_robot, robots_dir
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, NodeProcess, RobotRig
from tests.support.ros.safety_rig import ALL, name
from tests.support.wrong_descriptions import WrongCopy, wrong_copies

ARMS = ("panda", "ur5e", "ur10e", "xarm6", "xarm7")
COPIES = 13
"""Of each arm, spread over all fields."""
AT_ONCE = 4
END_S = 60.0
PERIOD_S = 0.02

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Site:
    """Descriptions beside a URDF, the nodes that read them, and whatever these say."""

    def __init__(self, folder: Path, domain: int, arm: str) -> None:
        self.folder, self.domain, self.arm = folder, domain, arm
        self.right: dict[str, Any] = yaml.safe_load((robots_dir() / f"{arm}.yaml").read_text())
        shutil.copy(robots_dir() / f"{arm}.urdf", folder)
        self.peer, self.rigs = Peer(domain), list[RobotRig]()
        self.status = self.peer.listen(msg.SafetyStatus, name(topics.SAFETY_STATUS), ALL)
        self.commands = self.peer.listen(JointTrajectory, name("joint_trajectory_controller/joint_trajectory"), ALL)

    def start(self, number: int, data: dict[str, Any]) -> NodeProcess:
        file = self.folder / f"{number}.yaml"
        file.write_text(yaml.safe_dump(data))
        self.rigs.append(RobotRig(self.folder / f"run {number}", self.domain, robot=RobotConfig(model=str(file))))
        return self.rigs[-1].start("safety_node", "simulated:=true")

    def send_states(self) -> None:
        """States of an arm that stands at home, until safety commands it."""
        node, model = self.peer.node, load_robot(self.arm)
        joints = node.create_publisher(JointState, name(topics.JOINT_STATES), SENSOR)
        gripper = node.create_publisher(msg.GripperState, name(topics.GRIPPER_STATE), SENSOR)
        episode = node.create_publisher(msg.EpisodeState, name(topics.DRIVER_EPISODE), LATCHED)
        episode.publish(msg.EpisodeState(header=header(), robot=ROBOT, episode=1, phase=msg.EpisodeState.PHASE_READY))

        def say() -> None:
            zeros = [0.0] * len(model.joint_names)
            joints.publish(
                JointState(
                    header=header(), name=list(model.joint_names), position=list(model.home_rad), velocity=zeros,
                    effort=zeros,
                )
            )  # fmt: skip
            gripper.publish(msg.GripperState(header=header(), width_m=model.gripper.max_width_m, effort_n=0.5))

        node.create_timer(PERIOD_S, say)
        wait_for(lambda: self.commands, END_S, "a command of the right description's node")

    def close(self) -> None:
        for rig in self.rigs:
            rig.close()
        self.peer.close()


def drawn(right: dict[str, Any]) -> list[WrongCopy]:
    """Copies of all kinds and fields; a copy that YAML can't write is no case."""
    copies = list(wrong_copies(right, RobotModel))
    return [copies[len(copies) * i // COPIES] for i in range(COPIES)]


@pytest.mark.parametrize("arm", ARMS)
def test_a_wrong_description_ends_the_node_with_the_field_s_name_and_commands_nothing(arm: str, tmp_path: Path) -> None:
    with reserved_domain() as domain:
        site = Site(tmp_path, domain, arm)
        try:
            copies = drawn(site.right)
            for begin in range(0, COPIES, AT_ONCE):
                some = copies[begin : begin + AT_ONCE]
                nodes = [site.start(begin + i, copy.data) for i, copy in enumerate(some)]
                for copy, node in zip(some, nodes, strict=True):
                    status = node.process.wait(END_S)
                    last = node.text.splitlines()[-1]
                    assert (status, copy.field in last) == (USER_ERROR, True), (copy.fault, copy.field, node.text)
                    assert "Traceback" not in node.text
            assert not site.status and not site.commands
            site.start(COPIES, site.right)  # the control
            wait_for(lambda: site.status, END_S, "the status of the right description's node")
            site.send_states()
        finally:
            site.close()
