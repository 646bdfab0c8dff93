"""A robot's structs to messages and back; what does not fit raises ValueError or TypeError."""

from __future__ import annotations

import math

from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Vector3

from floop_interfaces import msg
from floop_robot.robot.messages import (
    Cause,
    Interventions,
    JointTarget,
    PerceivedObject,
    SafetyMode,
    SafetyState,
    Vec3,
)
from floop_robot.ros.node.cdr import CdrMessage, CdrWriter
from floop_robot.ros.node.convert import to_message
from floop_robot.ros.node.stamps import header, now_numbers
from floop_robot.spec.records import ObjectReport

_NOWHERE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
"""Size and pose where there is no object."""


def target_to_msg(target: JointTarget) -> msg.JointTarget:
    """For the topic `joint_target`."""
    return to_message(msg.JointTarget, target)


def target_to_cdr(writer: CdrWriter, target: JointTarget) -> bytes:
    """The same, serialised."""
    return writer.write(
        len(target.q_rad),
        lambda: target_to_msg(target),
        (
            *now_numbers(),
            *target.q_rad,
            *(target.gripper_width_m, target.gripper_force_n),
            *(target.seq, target.mono_s, target.episode, target.policy_version),
        ),
    )


def target_from_cdr(message: CdrMessage, _: float = 0.0) -> JointTarget:
    """From the topic `joint_target`. Its age is the sender's: both share the host's steady clock."""
    return JointTarget(**{name: message[name] for name in JointTarget.__struct_fields__})


def safety_to_msg(state: SafetyState, robot: str) -> msg.SafetyStatus:
    """For the topic `safety_status`."""
    return to_message(msg.SafetyStatus, state, robot=robot)


def safety_to_cdr(writer: CdrWriter, state: SafetyState, robot: str) -> bytes:
    """The same, serialised."""
    counts = state.interventions
    return writer.write(
        (state.mode, state.cause, state.fault, len(state.q_rad), len(state.accepted_q_rad)),
        lambda: safety_to_msg(state, robot),
        (
            *now_numbers(),
            state.tick,
            *(counts.nonfinite, counts.position, counts.velocity, counts.workspace),
            *(counts.stale_state, counts.late_target, counts.estop, counts.total),
            *state.q_rad,
            *state.accepted_q_rad,
            state.target_seq,
            state.target_episode,
            state.estop,
            state.missed_ticks,
        ),
    )


def safety_from_cdr(message: CdrMessage, arrived_s: float) -> SafetyState:
    """From the topic `safety_status`; its `mono_s` is the time of arrival, which is never too early."""
    words = message.layout.message
    names = Interventions.__struct_fields__  # the message has their total after them
    return SafetyState(
        tick=message["tick"],
        mono_s=arrived_s,
        mode=SafetyMode(words.mode),
        cause=Cause(words.cause),
        interventions=Interventions(**dict(zip(names, message["interventions"], strict=False))),
        q_rad=message["q_rad"],
        accepted_q_rad=message["accepted_q_rad"],
        target_seq=message["target_seq"],
        target_episode=message["target_episode"],
        estop=message["estop"],
        fault=words.fault,
        missed_ticks=message["missed_ticks"],
    )


def object_to_msg(seen: PerceivedObject | ObjectReport | None, frame_id: str) -> msg.PerceivedObject:
    """For the topic `perceived_object`; None means that perception looked and saw no object."""
    if seen is None:
        return msg.PerceivedObject(header=header(frame_id), present=False)
    return msg.PerceivedObject(
        header=header(frame_id),
        present=True,
        object_class=seen.object_class,
        size_m=_vector(seen.size_m),
        pose=pose_of(seen.position_m, seen.yaw_rad),
    )


def object_to_cdr(writer: CdrWriter, seen: PerceivedObject | None, frame_id: str) -> bytes:
    """The same, serialised."""
    if seen is None:
        return writer.write(None, lambda: object_to_msg(None, frame_id), (*now_numbers(), False, *_NOWHERE))
    pose = _pose_numbers(seen.position_m, seen.yaw_rad)
    return writer.write(
        seen.object_class,
        lambda: object_to_msg(seen, frame_id),
        (*now_numbers(), True, *seen.size_m, *pose),
    )


def pose_stamped(position_m: Vec3, yaw_rad: float, frame_id: str) -> PoseStamped:
    """A pose turned about z, in the arm's base frame: `frame_id` is its name."""
    return PoseStamped(header=header(frame_id), pose=pose_of(position_m, yaw_rad))


def pose_to_cdr(writer: CdrWriter, position_m: Vec3, yaw_rad: float, frame_id: str) -> bytes:
    """The same, serialised; a writer is for one frame."""
    numbers = (*now_numbers(), *_pose_numbers(position_m, yaw_rad))
    return writer.write((), lambda: pose_stamped(position_m, yaw_rad, frame_id), numbers)


def _pose_numbers(position_m: Vec3, yaw_rad: float) -> tuple[float, ...]:
    return (*position_m, 0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2))


def pose_of(position_m: Vec3, yaw_rad: float) -> Pose:
    """A pose turned about z."""
    x, y, z = position_m
    turn = Quaternion(x=0.0, y=0.0, z=math.sin(yaw_rad / 2), w=math.cos(yaw_rad / 2))
    return Pose(position=Point(x=x, y=y, z=z), orientation=turn)


def _vector(v: Vec3) -> Vector3:
    return Vector3(x=v[0], y=v[1], z=v[2])
