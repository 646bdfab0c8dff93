"""Joint commands reach a driver over either kind of controller, and what has the wrong joints does not."""

from __future__ import annotations

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from std_msgs.msg import Float64MultiArray

from floop_robot.robot.messages import JointCommand
from floop_robot.ros.arm.joint_commands import JointCommandPublisher, JointCommandSubscriber
from floop_robot.ros.node.qos import COMMAND
from floop_robot.spec.driver_config import DriverConfig
from floop_robot.spec.robot_model import load_robot
from tests.support.ros.peer import Peer

MODEL = load_robot("panda")
RATE_HZ = 50.0
DQ = tuple(0.01 * (i + 1) for i in range(len(MODEL.joint_names)))


def command(q_rad: tuple[float, ...], dq_rad_s: tuple[float, ...] = DQ) -> JointCommand:
    return JointCommand(tick=1, mono_s=1.0, q_rad=q_rad, dq_rad_s=dq_rad_s, gripper_width_m=0.03, gripper_force_n=20.0)


class Link:
    """Safety's end and the driver's end of a robot's command topics."""

    def __init__(self, peer: Peer, driver: DriverConfig) -> None:
        self.driver = JointCommandSubscriber(peer.node, MODEL, driver, RATE_HZ)
        self._safety = JointCommandPublisher(peer.node, MODEL, driver, RATE_HZ)

    def send(self, sent: JointCommand) -> JointCommand:
        """What the driver reads of it; what is sent before discovery is sent again."""

        def received() -> JointCommand | None:
            self._safety.send(sent)
            return self.driver.receive()

        return wait_for(received, what="the command")


def test_a_trajectory_point_keeps_its_velocities(peer: Peer) -> None:
    link = Link(peer, DriverConfig(command_topic="trajectory", point_velocities=True))
    found = link.send(command(MODEL.home_rad))
    assert found.q_rad == pytest.approx(MODEL.home_rad) and found.dq_rad_s == pytest.approx(DQ)
    wait_for(lambda: link.send(command(MODEL.home_rad)).gripper_width_m == 0.03, what="the gripper's width")


def test_velocities_are_derived_from_bare_positions_within_the_limits(peer: Peer) -> None:
    link = Link(peer, DriverConfig(controller="forward_position", command_topic="positions"))
    still = link.send(command(MODEL.home_rad))
    assert still.q_rad == pytest.approx(MODEL.home_rad)
    assert still.dq_rad_s == (0.0,) * len(MODEL.joint_names)
    near = tuple(q + 0.001 for q in MODEL.home_rad)
    read = [still]

    def moved() -> bool:
        read.append(link.send(command(near)))
        return read[-1].q_rad == pytest.approx(near)

    wait_for(moved)
    assert read[-1].dq_rad_s == pytest.approx([0.001 * RATE_HZ] * len(near))
    far = tuple(q + 10.0 for q in near)
    wait_for(lambda: link.send(command(far)).dq_rad_s == MODEL.limits.velocity_rad_s, what="the limits")


def test_a_wrong_number_of_joints_moves_nothing(peer: Peer) -> None:
    link = Link(peer, DriverConfig(controller="forward_position", command_topic="positions"))
    link.send(command(MODEL.home_rad))
    stranger = peer.node.create_publisher(Float64MultiArray, "positions", COMMAND)

    def is_refused() -> bool:
        stranger.publish(Float64MultiArray(data=[0.0] * (len(MODEL.joint_names) - 1)))
        assert all(len(found.q_rad) == len(MODEL.joint_names) for found in [link.driver.receive()] if found)
        return link.driver._arm.refused > 0

    wait_for(is_refused, what="the refusal")
    assert link.send(command(MODEL.home_rad)).q_rad == pytest.approx(MODEL.home_rad)
