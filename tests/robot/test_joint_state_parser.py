"""What becomes of joint states that are unlike our own."""

from __future__ import annotations

import pytest

from floop_robot.robot.joint_state_parser import JointStateParser, JointStates
from floop_robot.spec.driver_config import GripperJoint

NAMES = ("a", "b", "c")
KNUCKLE = GripperJoint(joint_names=("k",), closed=0.8, open=0.0, force_n_per_effort=2.0)


def states(
    name: list[str],
    position: list[float],
    velocity: tuple[float, ...] = (),
    effort: tuple[float, ...] = (),
    *,
    at_s: float = 0.0,
    stamp_ns: int = 0,
) -> JointStates:
    return JointStates(
        name=name, position=tuple(position), velocity=velocity, effort=effort, stamp_ns=stamp_ns, mono_s=at_s
    )


def test_joints_are_read_by_name_in_any_order_and_company() -> None:
    reader = JointStateParser(NAMES, None, 0.08)
    names, velocity = ["x", "c", "a", "b"], (9.0, 0.3, 0.1, 0.2)
    found = reader.arm(states(names, [9.0, 3.0, 1.0, 2.0], velocity, at_s=1.5, stamp_ns=5_000_000_000))
    assert found is not None
    assert (found.q_rad, found.dq_rad_s) == ((1.0, 2.0, 3.0), (0.1, 0.2, 0.3))
    assert (found.stamp_ns, found.mono_s) == (5_000_000_000, 1.5)


def test_part_of_an_arm_is_no_state_of_it() -> None:
    reader = JointStateParser(NAMES, KNUCKLE, 0.08)
    assert reader.arm(states(["a", "b"], [1.0, 2.0])) is None
    assert reader.arm(states(["a", "b", "c"], [1.0, 2.0])) is None  # a malformed one
    assert reader.gripper(states(["a", "b"], [1.0, 2.0])) is None


def test_velocities_are_derived_where_none_are_published() -> None:
    reader = JointStateParser(("a",), None, 0.08)
    first = reader.arm(states(["a"], [1.0], stamp_ns=1_000_000_000))
    second = reader.arm(states(["a"], [1.01], stamp_ns=1_020_000_000, at_s=0.02))
    again = reader.arm(states(["a"], [1.01], stamp_ns=1_020_000_000, at_s=0.03))  # the same stamp: nothing is new
    assert first is not None and second is not None and again is not None
    assert first.dq_rad_s == (0.0,)
    assert second.dq_rad_s == pytest.approx((0.5,))
    assert again.dq_rad_s == second.dq_rad_s


def test_a_gripper_may_be_a_joint() -> None:
    reader = JointStateParser(NAMES, KNUCKLE, 0.08)
    found = reader.gripper(states(["k"], [0.6], effort=(-7.0,), at_s=3.0))
    assert found is not None
    assert found.width_m == pytest.approx(0.02)
    assert (found.effort_n, found.mono_s) == (14.0, 3.0)
    assert KNUCKLE.position(0.02, 0.08) == pytest.approx(0.6)


def test_joints_are_looked_up_anew_when_the_names_are_others() -> None:
    reader = JointStateParser(("a", "b"), None, 0.08)
    for names, position in ((["a", "b"], [1.0, 2.0]), (["b", "a"], [2.0, 1.0]), (["b", "x", "a"], [2.0, 9.0, 1.0])):
        found = reader.arm(states(names, position))
        assert found is not None and found.q_rad == (1.0, 2.0)
    assert reader.arm(states(["a", "x"], [1.0, 2.0])) is None
