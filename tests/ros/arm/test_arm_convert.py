"""What goes over the topics of a robot comes back whole."""

from __future__ import annotations

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message, serialize_message

from floop_interfaces import msg
from floop_robot.robot.messages import Cause, Interventions, JointTarget, PerceivedObject, SafetyMode, SafetyState
from floop_robot.ros.arm.convert import (
    object_to_cdr,
    object_to_msg,
    pose_stamped,
    pose_to_cdr,
    safety_from_cdr,
    safety_to_cdr,
    safety_to_msg,
    target_from_cdr,
    target_to_cdr,
    target_to_msg,
)
from floop_robot.ros.node.cdr import CdrReader, CdrWriter

BOX = PerceivedObject(object_class="box", size_m=(0.04, 0.05, 0.06), position_m=(0.4, -0.1, 0.03), yaw_rad=0.7)
STATE = SafetyState(
    tick=7,
    mono_s=1.5,
    mode=SafetyMode.HOLDING,
    cause=Cause.LATE_TARGET,
    interventions=Interventions(nonfinite=1, position=2, velocity=3, workspace=4, stale_state=5, estop=7),
    q_rad=(0.1, 0.2),
    accepted_q_rad=(0.3, 0.4),
    target_seq=-1,
    target_episode=9,
    estop=True,
    fault="none came",
    missed_ticks=3,
)


def test_a_seen_object_comes_back_whole() -> None:
    writer, reader = CdrWriter(), CdrReader(msg.PerceivedObject)
    for seen in (BOX, None, BOX):
        data = object_to_cdr(writer, seen, "base")
        sent, expected = deserialize_message(data, msg.PerceivedObject), object_to_msg(seen, "base")
        expected.header.stamp = sent.header.stamp
        assert sent == expected
        found = reader.read(data)
        assert found["present"] == (seen is not None)
    assert (found["size_m"], found["pose.position"]) == (BOX.size_m, BOX.position_m)


def test_the_state_of_safety_comes_back_whole() -> None:
    data = safety_to_cdr(CdrWriter(), STATE, "robot_1")
    sent, expected = deserialize_message(data, msg.SafetyStatus), safety_to_msg(STATE, "robot_1")
    expected.header.stamp = sent.header.stamp
    assert sent == expected
    assert safety_from_cdr(CdrReader(msg.SafetyStatus).read(data), 1.5) == STATE


def test_poses_and_targets_come_back_whole() -> None:
    data = pose_to_cdr(CdrWriter(), (0.1, 0.2, 0.3), 0.7, "base")
    sent, expected = deserialize_message(data, PoseStamped), pose_stamped((0.1, 0.2, 0.3), 0.7, "base")
    expected.header.stamp = sent.header.stamp
    assert sent == expected
    target = JointTarget(q_rad=(0.1, 0.2), gripper_width_m=0.03, gripper_force_n=20.0, seq=4, mono_s=1.5, episode=6)
    assert target_from_cdr(CdrReader(msg.JointTarget).read(bytes(serialize_message(target_to_msg(target))))) == target
    data = target_to_cdr(CdrWriter(), target)
    wanted, expected_target = deserialize_message(data, msg.JointTarget), target_to_msg(target)
    expected_target.header.stamp = wanted.header.stamp
    assert wanted == expected_target
