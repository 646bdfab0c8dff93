"""What becomes of joint states that are unlike our own."""

from __future__ import annotations

import math

import pytest

from floop_robot.robot.joint_state_parser import JointStateParser, JointStates
from floop_robot.robot.state_faults import FaultKind, StateFaults
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


BAD = {
    "half an arm": (states(["a", "b"], [1.0, 2.0]), FaultKind.MISSING_JOINTS, "name lacks c; it has a, b"),
    "another arm": (states(["x", "y"], [1.0, 2.0]), FaultKind.MISSING_JOINTS, "name lacks a, b, c; it has x, y"),
    "no names": (states([], [1.0, 2.0, 3.0]), FaultKind.MISSING_JOINTS, "it has no joint"),
    "a name twice": (states(["a", "b", "c", "b"], [1.0, 2.0, 3.0, 2.0]), FaultKind.NAMES_TWICE, "name has b twice"),
    "too few positions": (
        states(["a", "b", "c"], [1.0, 2.0]),
        FaultKind.LENGTHS,
        "position has 2 values, its range is 3",
    ),
    "too many positions": (states(["a", "b", "c"], [1.0] * 4), FaultKind.LENGTHS, "position has 4 values"),
    "too few velocities": (states(["a", "b", "c"], [1.0] * 3, (0.0, 0.0)), FaultKind.LENGTHS, "velocity has 2 values"),
    "too many efforts": (states(["a", "b", "c"], [1.0] * 3, (), (0.0,) * 4), FaultKind.LENGTHS, "3 or 0"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_message_that_cannot_be_read_is_named(what: str) -> None:
    message, kind, text = BAD[what]
    faults = StateFaults()
    reader = JointStateParser(NAMES, KNUCKLE, 0.08, faults)
    assert reader.arm(message) is None
    assert reader.gripper(message) is None
    assert faults.counts == {kind: 1}
    assert text in faults.current


def test_messages_about_other_joints_are_no_fault() -> None:
    faults = StateFaults()
    reader = JointStateParser(NAMES, KNUCKLE, 0.08, faults)
    assert reader.arm(states(["k"], [0.1])) is None  # the gripper's own publisher, before the arm's
    assert reader.arm(states(["a", "b", "c"], [1.0, 2.0, 3.0])) is not None
    assert reader.arm(states(["rail"], [0.1])) is None
    assert faults.total == 0


def test_what_is_not_published_is_unknown() -> None:
    reader = JointStateParser(("a",), KNUCKLE, 0.08)
    found = reader.arm(states(["a"], [1.0]))
    assert found is not None
    assert math.isnan(found.dq_rad_s[0]) and found.effort_nm == ()
    found = reader.arm(states(["x", "a"], [9.0, 1.0], (9.0, math.nan), (9.0, 2.0)))
    assert found is not None
    assert math.isnan(found.dq_rad_s[0]) and found.effort_nm == (2.0,)
    for effort in ((), (math.nan,)):
        hand = reader.gripper(states(["k"], [0.6], effort=effort))
        assert hand is not None and math.isnan(hand.effort_n)


@pytest.mark.parametrize("position", [45.8, -1.0, math.nan, math.inf])
def test_a_gripper_joint_outside_its_stroke_is_named(position: float) -> None:
    faults = StateFaults()
    assert JointStateParser(NAMES, KNUCKLE, 0.08, faults).gripper(states(["k"], [position])) is None
    assert f"(gripper): k is at {position:.6g}, its range is 0 to 0.8" in faults.current


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
