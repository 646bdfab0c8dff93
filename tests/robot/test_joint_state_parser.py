"""What becomes of joint states that are unlike our own."""

from __future__ import annotations

import msgspec
import pytest

from floop_robot.robot.joint_state_parser import JointStateParser
from floop_robot.spec.driver_config import GripperJoint

NAMES = ("a", "b", "c")
KNUCKLE = GripperJoint(joint_names=("k",), closed=0.8, open=0.0, force_n_per_effort=2.0)


class States(msgspec.Struct):
    """As `sensor_msgs/JointState`."""

    name: list[str]
    position: list[float]
    velocity: list[float] = []
    effort: list[float] = []


def test_joints_are_read_by_name_in_any_order_and_company() -> None:
    reader = JointStateParser(NAMES, None, 0.08)
    states = States(["x", "c", "a", "b"], [9.0, 3.0, 1.0, 2.0], [9.0, 0.3, 0.1, 0.2])
    found = reader.arm(states, 5_000_000_000, 1.5)
    assert found is not None
    assert (found.q_rad, found.dq_rad_s) == ((1.0, 2.0, 3.0), (0.1, 0.2, 0.3))
    assert (found.stamp_ns, found.mono_s) == (5_000_000_000, 1.5)


def test_part_of_an_arm_is_no_state_of_it() -> None:
    reader = JointStateParser(NAMES, KNUCKLE, 0.08)
    assert reader.arm(States(["a", "b"], [1.0, 2.0]), 1, 0.0) is None
    assert reader.arm(States(["a", "b", "c"], [1.0, 2.0]), 1, 0.0) is None  # a malformed one
    assert reader.gripper(States(["a", "b"], [1.0, 2.0]), 0.0) is None


def test_velocities_are_derived_where_none_are_published() -> None:
    reader = JointStateParser(("a",), None, 0.08)
    first = reader.arm(States(["a"], [1.0]), 1_000_000_000, 0.0)
    second = reader.arm(States(["a"], [1.01]), 1_020_000_000, 0.02)
    again = reader.arm(States(["a"], [1.01]), 1_020_000_000, 0.03)  # the same stamp: nothing is new
    assert first is not None and second is not None and again is not None
    assert first.dq_rad_s == (0.0,)
    assert second.dq_rad_s == pytest.approx((0.5,))
    assert again.dq_rad_s == second.dq_rad_s


def test_a_gripper_may_be_a_joint() -> None:
    reader = JointStateParser(NAMES, KNUCKLE, 0.08)
    found = reader.gripper(States(["k"], [0.6], effort=[-7.0]), 3.0)
    assert found is not None
    assert found.width_m == pytest.approx(0.02)
    assert (found.effort_n, found.mono_s) == (14.0, 3.0)
    assert KNUCKLE.position(0.02, 0.08) == pytest.approx(0.6)
