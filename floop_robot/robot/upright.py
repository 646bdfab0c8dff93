"""What a policy learns of an object's orientation: the turn about the vertical, and the size along those axes."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from floop_robot.robot.messages import Vec3
from floop_robot.robot.transform import Quaternion, rotate

_AXES: Final[tuple[Vec3, Vec3, Vec3]] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
TILTED_RAD: Final = math.radians(20.0)
"""From this tilt on, status says that an object is not upright."""


class Upright(msgspec.Struct, frozen=True):
    """An object of any orientation, as an upright one."""

    size_m: Vec3
    """Extents along the two axes that lie flat, then along the one that stands."""
    yaw_rad: float
    """Turn of the first flat axis about the base's z."""


def as_upright(rotation: Quaternion, size_m: Vec3) -> Upright:
    """The own axis nearest to the vertical counts as standing; the two that follow it (x, y, z, x …) lie flat.

    For an object that stands as its model does, these are its z, x and y. One that lies on its side has the same size
    in another order.
    """
    axes = [rotate(rotation, axis) for axis in _AXES]
    standing = max((2, 0, 1), key=lambda i: round(abs(axes[i][2]), 9))
    first, second = (standing + 1) % 3, (standing + 2) % 3
    x, y, _ = axes[first]
    return Upright(
        size_m=(size_m[first], size_m[second], size_m[standing]),
        yaw_rad=math.atan2(y, x),
    )


def tilt_of(rotation: Quaternion) -> float:
    """Angle between the object's own z axis and the base's (rad); 0 for an object that stands as its model does."""
    return math.acos(min(max(rotate(rotation, _AXES[2])[2], -1.0), 1.0))
