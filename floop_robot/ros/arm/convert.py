"""A robot's structs to messages and back; what does not fit raises ValueError or TypeError."""

from __future__ import annotations

import math

from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Vector3

from floop_interfaces import msg
from floop_robot.robot.messages import EstopCommand, JointTarget, PerceivedObject, SafetyState, Vec3
from floop_robot.ros.node.convert import from_message, to_message
from floop_robot.ros.node.stamps import header
from floop_robot.spec.records import ObjectReport


def target_to_msg(target: JointTarget) -> msg.JointTarget:
    """For the topic `joint_target`."""
    return to_message(msg.JointTarget, target)


def target_from_msg(message: msg.JointTarget, _: float = 0.0) -> JointTarget:
    """From the topic `joint_target`. Its age is the sender's: both share the host's steady clock."""
    return from_message(JointTarget, message)


def stop_from_msg(message: msg.StopRequest, _: float = 0.0) -> EstopCommand:
    """From the topics `estop` and `/fleet/estop`, which can only stop."""
    return EstopCommand(stop=True, who=message.who or "unknown", why=message.why)


def safety_to_msg(state: SafetyState, robot: str) -> msg.SafetyStatus:
    """For the topic `safety_status`."""
    return to_message(msg.SafetyStatus, state, robot=robot)


def safety_from_msg(message: msg.SafetyStatus, arrived_s: float) -> SafetyState:
    """From the topic `safety_status`; its `mono_s` is the time of arrival, which is never too early."""
    return from_message(SafetyState, message, mono_s=arrived_s)


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


def object_from_msg(message: msg.PerceivedObject) -> PerceivedObject | None:
    """From the topic `perceived_object`; None when perception saw no object."""
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
    sin, cos = 2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z)
    # Not the angle: that of two infinite numbers is finite.
    if not (math.isfinite(sin) and math.isfinite(cos)):
        raise ValueError("orientation is not finite")
    return math.atan2(sin, cos)


def _vector(v: Vec3) -> Vector3:
    return Vector3(x=v[0], y=v[1], z=v[2])
