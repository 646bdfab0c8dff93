"""One robot state from a driver whose gripper has joint states of its own, and from poses alone."""

from __future__ import annotations

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from floop_robot.robot.messages import RobotState
from floop_robot.ros.arm.convert import pose_stamped
from floop_robot.ros.arm.perception_subscriber import PerceptionSubscriber
from floop_robot.ros.arm.robot_state_subscriber import RobotStateSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import SENSOR
from floop_robot.ros.node.stamps import header
from floop_robot.spec.driver_config import AssumedObject, DriverConfig, GripperJoint
from floop_robot.spec.robot_model import load_robot
from tests.support.ros.peer import Peer

MODEL = load_robot("panda")
GRIPPER = GripperJoint(joint_names=("knuckle",), closed=0.8, open=0.0, joint_states_topic="hand/joint_states")
TOTE_M = (0.3, 0.4, 0.01)
OBJECT_M = (0.5, -0.1, 0.03)


def test_a_gripper_with_joint_states_of_its_own_and_a_tote_are_part_of_the_state(peer: Peer) -> None:
    driver = DriverConfig(
        command_topic="commands",
        gripper=GRIPPER,
        assumed_object=AssumedObject(object_class="box", size_m=(0.04, 0.04, 0.04)),
        perception_timeout_s=60.0,
        gripper_timeout_s=60.0,
    )
    perception = PerceptionSubscriber(peer.node, MODEL, driver, "robot_1")
    states = RobotStateSubscriber(peer.node, MODEL, driver, 60.0, perception)
    arm = peer.node.create_publisher(JointState, driver.joint_states_topic, SENSOR)
    hand = peer.node.create_publisher(JointState, GRIPPER.joint_states_topic, SENSOR)
    totes = peer.node.create_publisher(PoseStamped, topics.TOTE_POSE, SENSOR)
    poses = peer.node.create_publisher(PoseStamped, topics.OBJECT_POSE, SENSOR)

    def arm_alone() -> bool:
        arm.publish(JointState(header=header(), name=MODEL.joint_names, position=MODEL.home_rad))
        assert states.receive() is None  # nothing is known of the gripper
        return states.arm is not None

    wait_for(arm_alone, what="the arm's joints")

    def complete() -> RobotState | None:
        hand.publish(JointState(name=["knuckle"], position=[0.4]))
        totes.publish(pose_stamped(TOTE_M, 0.0, MODEL.base_link))
        poses.publish(pose_stamped(OBJECT_M, 0.5, MODEL.base_link))
        arm.publish(JointState(header=header(), name=MODEL.joint_names, position=MODEL.home_rad))
        found = states.receive()
        return found if found and found.tote_m and found.object else None

    found = wait_for(complete, what="the whole state")
    assert found.gripper_width_m == pytest.approx(MODEL.gripper.max_width_m / 2)
    assert found.q_rad == pytest.approx(MODEL.home_rad)
    assert found.tote_m == TOTE_M
    assert found.object is not None and found.object.object_class == "box"
    assert (found.object.position_m, found.object.yaw_rad) == (OBJECT_M, pytest.approx(0.5))
