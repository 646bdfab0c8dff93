"""Corrections in words."""

from __future__ import annotations

from floop_robot.spec.calibration import SHOWN_ROBOTS, calibration_text


def test_each_robot_is_named_with_what_is_added() -> None:
    assert calibration_text({}) == ""
    two = {"robot_3": (0.0291, -0.0234, 0.0), "robot_1": (0.01, 0.0, 0.0)}
    assert calibration_text(two) == "robot_1 by (-10.0, +0.0, +0.0) mm; robot_3 by (-29.1, +23.4, +0.0) mm"


def test_a_text_stays_short_and_on_one_line() -> None:
    many = calibration_text({f"robot_{i:03}": (0.01, 0.0, 0.0) for i in range(200)})
    assert many.count(" mm") == SHOWN_ROBOTS and many.endswith("; 200 robots in all")
    assert "\n" not in calibration_text({"robot\n1": (0.01, 0.0, 0.0)})
