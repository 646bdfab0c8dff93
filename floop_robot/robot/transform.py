"""Transform: position and orientation of a frame or an object in another frame; plain numbers, no numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from floop_robot.robot.messages import Vec3

Quaternion = tuple[float, float, float, float]
"""x, y, z, w, as in geometry_msgs."""
NORM_TOLERANCE: Final = 0.01
"""How far the square of a quaternion's norm may be from 1, as in tf2."""


class Transform(msgspec.Struct, frozen=True):
    """Where a frame is in its parent; of an object: its pose."""

    position_m: Vec3 = (0.0, 0.0, 0.0)
    rotation: Quaternion = (0.0, 0.0, 0.0, 1.0)
    """A unit quaternion."""

    def __matmul__(self, inner: Transform) -> Transform:
        """A pose in this frame, seen from its parent."""
        moved = rotate(self.rotation, inner.position_m)
        x, y, z = self.position_m
        return Transform((x + moved[0], y + moved[1], z + moved[2]), _unit(_product(self.rotation, inner.rotation)))

    def inverse(self) -> Transform:
        """The parent, seen from this frame."""
        x, y, z, w = self.rotation
        back = (-x, -y, -z, w)
        a, b, c = rotate(back, self.position_m)
        return Transform((-a, -b, -c), back)

    def towards(self, other: Transform, share: float) -> Transform:
        """Between this pose (share 0) and another (share 1): the position on a line, the rotation at constant speed."""
        a, b = self.position_m, other.position_m
        position = tuple(p + share * (q - p) for p, q in zip(a, b, strict=True))
        return Transform((position[0], position[1], position[2]), _slerp(self.rotation, other.rotation, share))


def checked_transform(position_m: Sequence[float], rotation: Sequence[float]) -> Transform:
    """A pose from a message; raises ValueError, with the field and its value, for one that no object can have."""
    x, y, z = position_m
    a, b, c, d = rotation
    if not all(map(math.isfinite, (x, y, z))):
        raise ValueError(f"its position is {_text(position_m)}, which is not finite")
    norm = a * a + b * b + c * c + d * d
    if norm == 0.0:
        raise ValueError("its orientation is 0 0 0 0, which is none; without a turn it is 0 0 0 1 (x y z w)")
    if not abs(norm - 1.0) <= NORM_TOLERANCE:  # NaN is not, either
        raise ValueError(f"its orientation is {_text(rotation)} (x y z w), which is no unit quaternion; normalise it")
    return Transform((x, y, z), _unit((a, b, c, d)))


def from_rpy(xyz_m: Vec3, rpy_rad: Vec3) -> Transform:
    """From a position and roll, pitch, yaw about fixed axes, as a URDF has them."""
    (sr, cr), (sp, cp), (sy, cy) = [(math.sin(a / 2), math.cos(a / 2)) for a in rpy_rad]
    rotation = (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )
    return Transform(xyz_m, _unit(rotation))


def turn(axis: Vec3, angle_rad: float) -> Transform:
    """A turn about an axis, which must be a unit vector."""
    half = angle_rad / 2
    s = math.sin(half)
    return Transform((0.0, 0.0, 0.0), (s * axis[0], s * axis[1], s * axis[2], math.cos(half)))


def rotate(rotation: Quaternion, v: Vec3) -> Vec3:
    """A vector after a rotation."""
    x, y, z, w = rotation
    a, b, c = v
    # t = 2 q × v; the result is v + w t + q × t.
    p, q, r = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
    return (a + w * p + y * r - z * q, b + w * q + z * p - x * r, c + w * r + x * q - y * p)


def _product(p: Quaternion, q: Quaternion) -> Quaternion:
    ax, ay, az, aw = p
    bx, by, bz, bw = q
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def _unit(q: Quaternion) -> Quaternion:
    x, y, z, w = q
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    return (x / norm, y / norm, z / norm, w / norm)


def _slerp(p: Quaternion, q: Quaternion, share: float) -> Quaternion:
    cosine = sum(a * b for a, b in zip(p, q, strict=True))
    sign = -1.0 if cosine < 0.0 else 1.0  # the shorter way
    angle = math.acos(min(1.0, abs(cosine)))
    if angle < 1e-6:
        first, second = 1.0 - share, share
    else:
        first, second = math.sin((1.0 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)
    x, y, z, w = (first * a + sign * second * b for a, b in zip(p, q, strict=True))
    return _unit((x, y, z, w))


def _text(numbers: Sequence[float]) -> str:
    return " ".join(f"{n:g}" for n in numbers)
