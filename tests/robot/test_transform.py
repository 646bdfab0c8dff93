"""Poses are turned and moved as PyBullet does it; what is no pose is refused with the field and its value."""

from __future__ import annotations

import math
import re

import pytest

from floop_robot.robot.transform import NORM_TOLERANCE, Transform, checked_transform, from_rpy, turn

bullet = pytest.importorskip("pybullet", reason="needs PyBullet to compare with: pip install -e .[sim]")

OUTER = ((0.4, -0.2, 0.7), (2.7, 0.3, -1.1))
INNER = ((-0.1, 0.5, 0.2), (0.2, -1.2, 3.0))


def test_a_pose_in_a_frame_is_where_pybullet_puts_it() -> None:
    outer, inner = from_rpy(*OUTER), from_rpy(*INNER)
    found = outer @ inner
    quaternions = [bullet.getQuaternionFromEuler(rpy) for _, rpy in (OUTER, INNER)]
    position, rotation = bullet.multiplyTransforms(OUTER[0], quaternions[0], INNER[0], quaternions[1])
    assert found.position_m == pytest.approx(position, abs=1e-6)  # it computes in single precision
    assert abs(sum(a * b for a, b in zip(found.rotation, rotation, strict=True))) == pytest.approx(1.0)
    back = outer.inverse() @ found
    assert back.position_m == pytest.approx(inner.position_m)
    assert abs(sum(a * b for a, b in zip(back.rotation, inner.rotation, strict=True))) == pytest.approx(1.0)


def test_between_two_poses_lies_the_middle_by_the_shorter_way() -> None:
    begin = turn((0.0, 0.0, 1.0), 3.0)
    end = Transform((0.2, 0.0, 0.0), turn((0.0, 0.0, 1.0), -3.0).rotation)
    middle = begin.towards(end, 0.5)
    assert middle.position_m == pytest.approx((0.1, 0.0, 0.0))
    assert abs(middle.rotation[2]) == pytest.approx(1.0)  # half a turn
    assert begin.towards(begin, 0.3).rotation == pytest.approx(begin.rotation)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("axis", range(7))
def test_numbers_that_are_not_finite_are_refused(axis: int, bad: float) -> None:
    numbers = [0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 1.0]
    numbers[axis] = bad
    with pytest.raises(ValueError, match="position" if axis < 3 else "orientation"):
        checked_transform(numbers[:3], numbers[3:])


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 2.0), (1.0, 1.0, 1.0, 1.0), (1e200,) * 4])
def test_an_orientation_that_is_no_unit_quaternion_is_refused_with_its_value(rotation: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"orientation is {rotation[0]:g}")):
        checked_transform((0.0, 0.0, 0.0), rotation)


def test_a_quaternion_in_single_precision_is_normalised() -> None:
    found = checked_transform((0.0, 0.0, 0.0), (0.0, 0.0, 0.6, 0.8 + NORM_TOLERANCE / 4))
    assert sum(a * a for a in found.rotation) == pytest.approx(1.0, abs=1e-12)
