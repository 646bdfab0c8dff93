"""Chain: the joints from base to tip of an arm as transforms, from its URDF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.urdf import Urdf, UrdfJoint, Vector, read_urdf

if TYPE_CHECKING:
    from floop_robot.spec.robot_model import RobotModel

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Chain:
    """A serial chain of revolute joints; each turns about its own z axis after `origins[i]`.

    URDF joints may turn about any axis and follow fixed joints; both are included in the origins.
    """

    origins: Matrix
    """Homogeneous transforms, shape (n, 4, 4): from the frame after joint i - 1 to the frame before joint i."""
    tip: Matrix
    """From the frame after the last joint to the tip link, shape (4, 4)."""

    @property
    def size(self) -> int:
        """Number of joints."""
        return len(self.origins)

    def pose(self, q_rad: Sequence[float]) -> Matrix:
        """Pose of the tip at these joints, (4, 4); `Kinematics` has a faster one."""
        pose = np.eye(4)
        for origin, angle in zip(self.origins, q_rad, strict=True):
            pose = pose @ origin
            pose[:, :2] = pose[:, :2] @ [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        return pose @ self.tip


def load_chain(model: RobotModel) -> Chain:
    """Read the chain of `model` from its URDF; raises `ConfigError` or `UnknownName` with the file's name."""
    return read_chain(model.urdf_path, model.base_link, model.tip_link, model.joint_names)


def read_chain(path: Path, base: str, tip: str, joint_names: tuple[str, ...]) -> Chain:
    """The chain from link `base` to link `tip`; its moving joints must be `joint_names`, in that order."""
    joints = joints_between(read_urdf(path), base, tip)
    moving = tuple(joint.name for joint in joints if joint.moves)
    if moving != joint_names:
        raise ConfigError(f"{path}: moving joints from {base} to {tip} are {moving}, but joint_names is {joint_names}")
    return chain_of(joints)


def joints_between(urdf: Urdf, base: str, tip: str) -> list[UrdfJoint]:
    """All joints from link `base` to link `tip`; raises `UnknownName` or `ConfigError` where there is no such way.

    The moving ones must be revolute and move by themselves: `Chain` has no others.
    """
    for link in (tip, base):
        if link not in urdf.links:
            raise UnknownName("link", link, urdf.links, str(urdf.path))
    joints = urdf.between(base, tip)
    if joints is None:
        raise ConfigError(f"{urdf.path}: link {tip} does not hang below {base}")
    for joint in joints:
        if joint.kind not in ("revolute", "continuous", "fixed"):
            raise ConfigError(
                f"{urdf.path}: joint {joint.name} between {base} and {tip} is {joint.kind}; only revolute joints are "
                "supported: make it fixed, or begin the chain after it"
            )
        if joint.mimics:
            raise ConfigError(
                f"{urdf.path}: joint {joint.name} between {base} and {tip} mimics {joint.mimics}; each joint of an arm "
                "needs a motor of its own"
            )
    return joints


def chain_of(joints: Sequence[UrdfJoint]) -> Chain:
    """The chain of joints that follow one another, as `joints_between` finds them."""
    origins, pending = [], np.eye(4)
    for joint in joints:
        pending = pending @ _origin(joint)
        if joint.moves:
            turn = _turn_z_onto(joint.axis)
            origins.append(pending @ turn)
            pending = turn.T
    return Chain(origins=np.array(origins).reshape(-1, 4, 4), tip=pending)


def _origin(joint: UrdfJoint) -> Matrix:
    out = np.eye(4)
    out[:3, :3] = _rpy(*joint.rpy_rad)
    out[:3, 3] = joint.xyz_m
    return out


def _rpy(roll: float, pitch: float, yaw: float) -> Matrix:
    """Rotation of URDF's fixed-axis roll, pitch, yaw."""
    (sr, cr), (sp, cp), (sy, cy) = [(math.sin(a), math.cos(a)) for a in (roll, pitch, yaw)]
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def _turn_z_onto(axis: Vector) -> Matrix:
    """A rotation, as a (4, 4) transform, that turns the z axis onto `axis`."""
    z = np.array(axis) / np.linalg.norm(axis)
    helper = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    x = helper - z * (helper @ z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3] = np.column_stack([x, np.cross(z, x), z])
    return out
