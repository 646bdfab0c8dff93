"""Structs of a robot to messages and back, field by field. What does not fit raises ValueError or TypeError."""

from __future__ import annotations

import math
import time

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Vector3
from std_msgs.msg import Header

from floop_interfaces import msg
from floop_robot.robot.messages import (
    Cause,
    EstopCommand,
    Interventions,
    JointTarget,
    PerceivedObject,
    SafetyMode,
    SafetyState,
    Vec3,
)

_NS = 1_000_000_000


def to_time(stamp_ns: int) -> Time:
    """Wall-clock ns since the epoch as a message."""
    return Time(sec=stamp_ns // _NS, nanosec=stamp_ns % _NS)


def from_time(stamp: Time) -> int:
    """Wall-clock ns since the epoch."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def header(frame_id: str = "", stamp_ns: int | None = None) -> Header:
    """A header; stamped now unless told otherwise."""
    return Header(stamp=to_time(time.time_ns() if stamp_ns is None else stamp_ns), frame_id=frame_id)


def target_to_msg(target: JointTarget) -> msg.JointTarget:
    """For the topic `joint_target`."""
    return msg.JointTarget(
        header=header(),
        q_rad=target.q_rad,
        gripper_width_m=target.gripper_width_m,
        gripper_force_n=target.gripper_force_n,
        seq=target.seq,
        mono_s=target.mono_s,
        episode=target.episode,
        policy_version=target.policy_version,
    )


def target_from_msg(message: msg.JointTarget, _: float = 0.0) -> JointTarget:
    """From the topic `joint_target`. Its age is the sender's: both share the host's steady clock."""
    return JointTarget(
        q_rad=tuple(message.q_rad),
        gripper_width_m=message.gripper_width_m,
        gripper_force_n=message.gripper_force_n,
        seq=message.seq,
        mono_s=message.mono_s,
        episode=message.episode,
        policy_version=message.policy_version,
    )


def stop_from_msg(message: msg.StopRequest, _: float = 0.0) -> EstopCommand:
    """From the topics `estop` and `/fleet/estop`, which can only stop."""
    return EstopCommand(stop=True, who=message.who or "unknown", why=message.why)


def interventions_to_msg(counts: Interventions) -> msg.Interventions:
    """Counts by cause."""
    return msg.Interventions(
        nonfinite=counts.nonfinite,
        position=counts.position,
        velocity=counts.velocity,
        workspace=counts.workspace,
        stale_state=counts.stale_state,
        late_target=counts.late_target,
        estop=counts.estop,
        total=counts.total,
    )


def interventions_from_msg(message: msg.Interventions) -> Interventions:
    """Counts by cause."""
    return Interventions(
        nonfinite=message.nonfinite,
        position=message.position,
        velocity=message.velocity,
        workspace=message.workspace,
        stale_state=message.stale_state,
        late_target=message.late_target,
        estop=message.estop,
    )


def safety_to_msg(state: SafetyState, robot: str) -> msg.SafetyStatus:
    """For the topic `safety_status`."""
    return msg.SafetyStatus(
        header=header(),
        robot=robot,
        tick=state.tick,
        mode=state.mode.value,
        cause=state.cause.value,
        interventions=interventions_to_msg(state.interventions),
        q_rad=state.q_rad,
        accepted_q_rad=state.accepted_q_rad,
        target_seq=state.target_seq,
        target_episode=state.target_episode,
        estop=state.estop,
        fault=state.fault,
        missed_ticks=state.missed_ticks,
    )


def safety_from_msg(message: msg.SafetyStatus, arrived_s: float) -> SafetyState:
    """From the topic `safety_status`; its `mono_s` is the time of arrival, which is never too early."""
    return SafetyState(
        tick=message.tick,
        mono_s=arrived_s,
        mode=SafetyMode(message.mode),
        cause=Cause(message.cause),
        interventions=interventions_from_msg(message.interventions),
        q_rad=tuple(message.q_rad),
        accepted_q_rad=tuple(message.accepted_q_rad),
        target_seq=message.target_seq,
        target_episode=message.target_episode,
        estop=message.estop,
        fault=message.fault,
        missed_ticks=message.missed_ticks,
    )


def object_to_msg(seen: PerceivedObject | None, frame_id: str) -> msg.PerceivedObject:
    """For the topic `perceived_object`; None says: looked, and saw none."""
    if seen is None:
        return msg.PerceivedObject(header=header(frame_id), present=False)
    return msg.PerceivedObject(
        header=header(frame_id),
        present=True,
        object_class=seen.object_class,
        size_m=_vector(seen.size_m),
        pose=pose_of(seen.position_m, seen.yaw_rad),
    )


def object_from_msg(message: msg.PerceivedObject) -> PerceivedObject | None:
    """From the topic `perceived_object`; None when it saw none."""
    if not message.present:
        return None
    size = message.size_m
    return PerceivedObject(
        object_class=message.object_class,
        size_m=(size.x, size.y, size.z),
        position_m=position_of(message.pose),
        yaw_rad=yaw_of(message.pose.orientation),
    )


def pose_stamped(position_m: Vec3, yaw_rad: float, frame_id: str) -> PoseStamped:
    """A pose in the arm's base frame, turned about z."""
    return PoseStamped(header=header(frame_id), pose=pose_of(position_m, yaw_rad))


def pose_of(position_m: Vec3, yaw_rad: float) -> Pose:
    """A pose turned about z."""
    x, y, z = position_m
    turn = Quaternion(x=0.0, y=0.0, z=math.sin(yaw_rad / 2), w=math.cos(yaw_rad / 2))
    return Pose(position=Point(x=x, y=y, z=z), orientation=turn)


def position_of(pose: Pose) -> Vec3:
    """Position, m; raises ValueError unless finite."""
    found = (pose.position.x, pose.position.y, pose.position.z)
    if not all(map(math.isfinite, found)):
        raise ValueError("position is not finite")
    return found


def yaw_of(q: Quaternion) -> float:
    """Turn about z, rad; raises ValueError unless finite."""
    yaw_rad = math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
    if not math.isfinite(yaw_rad):
        raise ValueError("orientation is not finite")
    return yaw_rad


def _vector(v: Vec3) -> Vector3:
    return Vector3(x=v[0], y=v[1], z=v[2])
