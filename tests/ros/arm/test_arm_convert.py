"""What perception reports comes back whole, and a pose that is no pose is refused."""

from __future__ import annotations

import math

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from geometry_msgs.msg import Point, Pose, Quaternion

from floop_robot.robot.messages import PerceivedObject
from floop_robot.ros.arm.convert import object_from_msg, object_to_msg, position_of, yaw_of

BOX = PerceivedObject(object_class="box", size_m=(0.04, 0.05, 0.06), position_m=(0.4, -0.1, 0.03), yaw_rad=0.7)


def test_a_seen_object_comes_back_whole() -> None:
    sent = object_to_msg(BOX, "base")
    assert (sent.present, sent.header.frame_id) == (True, "base")
    found = object_from_msg(sent)
    assert found is not None and found.yaw_rad == pytest.approx(0.7)
    assert (found.object_class, found.size_m, found.position_m) == (BOX.object_class, BOX.size_m, BOX.position_m)


def test_no_object_is_said_and_understood() -> None:
    sent = object_to_msg(None, "base")
    assert (sent.present, sent.header.frame_id, sent.object_class) == (False, "base", "")
    assert object_from_msg(sent) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_position_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="position"):
        position_of(Pose(position=Point(x=0.1, y=bad, z=0.2)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("axis", ["x", "y", "z", "w"])
def test_an_orientation_that_is_not_finite_is_refused(axis: str, bad: float) -> None:
    with pytest.raises(ValueError, match="orientation"):
        yaw_of(Quaternion(**{"x": 0.1, "y": 0.1, "z": 0.1, "w": 1.0, axis: bad}))
