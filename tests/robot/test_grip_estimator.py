"""What fingers hold that are not felt: width against command and object."""

from __future__ import annotations

import msgspec
import pytest

from floop_robot.robot.grip_estimator import GripEstimator
from floop_robot.robot.messages import PerceivedObject
from floop_robot.spec.robot_model import load_robot

GRIPPER = load_robot("panda").gripper
BOX = PerceivedObject(object_class="box", size_m=(0.045, 0.04, 0.05), position_m=(0.5, 0.0, 0.1), yaw_rad=0.0)
CLOSE, OPEN = (0.0, 0.0, 0.0, 0.0, -1.0), (0.0, 0.0, 0.0, 0.0, 1.0)


def forces(widths: list[float], actions: list[tuple[float, ...]], seen: PerceivedObject | None = BOX) -> list[float]:
    grip = GripEstimator(GRIPPER)
    return [grip.force_n(width, action, seen) for width, action in zip(widths, actions, strict=True)]


def test_fingers_that_close_on_an_object_hold_it_until_they_open() -> None:
    widths = [0.08, 0.06, 0.0452, 0.0450, 0.0451, 0.0450, 0.06, 0.08]
    actions = [OPEN, CLOSE, CLOSE, CLOSE, CLOSE, OPEN, OPEN, OPEN]
    assert forces(widths, actions) == [0.0, 0.0, 0.0, 20.0, 20.0, 0.0, 0.0, 0.0]


def test_fingers_that_close_on_nothing_hold_nothing() -> None:
    assert not any(forces([0.08, 0.05, 0.02, 0.001, 0.0, 0.0], [CLOSE] * 6))


def test_fingers_that_do_not_obey_hold_nothing() -> None:
    assert not any(forces([0.08] * 6, [CLOSE] * 6))
    assert not any(forces([0.075] * 6, [CLOSE] * 6))  # wider than the object is large
    assert any(forces([0.06] * 6, [CLOSE] * 6, msgspec.structs.replace(BOX, size_m=(0.09, 0.09, 0.05))))
    assert any(forces([0.06] * 6, [CLOSE] * 6, None))  # hidden by the hand


@pytest.mark.parametrize("speed_m_s", [0.02, 0.1, 0.4])
def test_slow_fingers_that_move_hold_nothing(speed_m_s: float) -> None:
    widths = [max(0.05 - speed_m_s * 0.08 * k, 0.0) for k in range(30)]
    assert not any(forces(widths, [CLOSE] * 30))


def test_another_episode_begins_without_a_grasp() -> None:
    grip = GripEstimator(GRIPPER)
    for _ in range(4):
        assert (grip.force_n(0.04, CLOSE, BOX) > 0.0) == grip.was_needed
    grip.reset()
    assert grip.force_n(0.04, CLOSE, BOX) == 0.0
    assert grip.was_needed
