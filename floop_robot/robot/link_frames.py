"""LinkFrames: where the links of a URDF are, for TF; all of them, also fingers and fixed ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from floop_robot.robot.transform import Transform, from_rpy, turn
from floop_robot.spec.urdf import UrdfJoint, read_urdf


class LinkFrame(msgspec.Struct, frozen=True):
    """A link in its parent link."""

    parent: str
    link: str
    transform: Transform


class LinkFrames:
    """The joints of one URDF."""

    def __init__(self, urdf: Path) -> None:
        """Raises `ConfigError` for a file that is none."""
        joints = list(read_urdf(urdf).joints.values())
        self._moving = [joint for joint in joints if joint.moves]
        self.fixed = [LinkFrame(joint.parent, joint.child, _origin(joint)) for joint in joints if not joint.moves]
        """Links that don't move in their parents."""

    def moving(self, positions: Mapping[str, float]) -> list[LinkFrame]:
        """The other links, with the joints at these positions (rad, m); a joint without one is at 0."""
        return [LinkFrame(joint.parent, joint.child, _place(joint, positions)) for joint in self._moving]


def _origin(joint: UrdfJoint) -> Transform:
    return from_rpy(joint.xyz_m, joint.rpy_rad)


def _place(joint: UrdfJoint, positions: Mapping[str, float]) -> Transform:
    """The child link of a joint in its parent."""
    q = joint.multiplier * positions.get(joint.mimics or joint.name, 0.0) + joint.offset
    x, y, z = (part / math.hypot(*joint.axis) for part in joint.axis)
    moved = Transform((x * q, y * q, z * q)) if joint.kind == "prismatic" else turn((x, y, z), q)
    return _origin(joint) @ moved
