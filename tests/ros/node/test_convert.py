"""Structs become messages and come back whole; what a message can't take is named."""

from __future__ import annotations

import math

import msgspec
import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces import msg
from floop_robot.learn.status import LearnerState, LearnerStatus
from floop_robot.robot.messages import Cause, Interventions, JointTarget, SafetyMode, SafetyState
from floop_robot.ros.node.convert import from_message, to_message
from floop_robot.ros.node.stamps import from_time

STATE = SafetyState(
    tick=7,
    mono_s=1.5,
    mode=SafetyMode.HOLDING,
    cause=Cause.LATE_TARGET,
    interventions=Interventions(late_target=3, estop=1),
    q_rad=(0.1, 0.2),
    accepted_q_rad=(0.3, 0.4),
    target_seq=-1,
    fault="none came",
)


def test_a_struct_within_a_struct_comes_back_whole() -> None:
    sent = to_message(msg.SafetyStatus, STATE, robot="robot_1")
    assert (sent.robot, sent.mode, sent.interventions.total) == ("robot_1", "holding", 4)
    assert from_message(SafetyState, sent, mono_s=1.5) == STATE


def test_what_the_caller_gives_wins() -> None:
    target = JointTarget(q_rad=(1.0,), gripper_width_m=0.1, gripper_force_n=2.0, seq=4)
    assert to_message(msg.JointTarget, target, seq=9).seq == 9
    assert from_message(JointTarget, to_message(msg.JointTarget, target), q_rad=(2.0,)).q_rad == (2.0,)


def test_stamps_are_times() -> None:
    status = LearnerStatus(state=LearnerState.WAITING, algo="sac", task="t", checkpoint_ns=1_700_000_000_000_000_007)
    sent = to_message(msg.LearnerStatus, status)
    assert from_time(sent.checkpoint_stamp) == status.checkpoint_ns
    assert from_time(sent.header.stamp) > status.checkpoint_ns
    assert (sent.state, math.isnan(sent.alpha)) == ("waiting", True)


class Entry(msgspec.Struct, frozen=True):
    """What is kept of an audit entry."""

    stamp_ns: int
    who: str


def test_a_time_comes_back_to_the_nanosecond() -> None:
    entry = Entry(stamp_ns=1_700_000_000_000_000_007, who="anna")
    sent = to_message(msg.AuditEntry, entry, epoch="", what="push", version=1, detail="")
    assert (sent.stamp.sec, sent.stamp.nanosec) == (1_700_000_000, 7)
    assert from_message(Entry, sent) == entry


def test_a_field_without_a_value_is_named() -> None:
    with pytest.raises(TypeError, match=r"SafetyStatus\.robot: SafetyState has no such field"):
        to_message(msg.SafetyStatus, STATE)


def test_an_unknown_word_is_refused() -> None:
    sent = to_message(msg.SafetyStatus, STATE, robot="robot_1")
    sent.mode = "dancing"
    with pytest.raises(ValueError, match="dancing"):
        from_message(SafetyState, sent, mono_s=0.0)


def test_checked_fields_refuse_what_they_cannot_hold() -> None:
    many = msgspec.structs.replace(STATE, tick=-1)
    with pytest.raises(AssertionError):
        to_message(msg.SafetyStatus, many, check_fields=True, robot="robot_1")
