"""Corrections follow fits that are clear, and no others."""

from __future__ import annotations

import msgspec
import pytest

from floop_robot.learn.fitted_calibration import FittedCalibration
from tests.support.sample_fits import calibration_fit

OFFSET = (0.03, -0.026, 0.0)


def test_a_clear_offset_is_corrected_on_its_robot() -> None:
    calibration = FittedCalibration()
    calibration.take([calibration_fit("robot_3", OFFSET), calibration_fit("robot_1", (0.002, -0.002, 0.001))])
    assert calibration.corrections == {"robot_3": pytest.approx(OFFSET)}


def test_an_offset_within_its_uncertainty_is_not() -> None:
    calibration = FittedCalibration()
    calibration.take([calibration_fit("robot_3", OFFSET, std_m=0.01)])
    assert calibration.corrections == {}


def test_noise_of_later_fits_changes_nothing_and_a_clear_change_does() -> None:
    calibration = FittedCalibration({"robot_3": OFFSET})
    calibration.take([calibration_fit("robot_3", (0.032, -0.025, 0.003))])
    assert calibration.corrections == {"robot_3": OFFSET}
    calibration.take([calibration_fit("robot_3", (0.01, -0.026, 0.002))])
    assert calibration.corrections == {"robot_3": pytest.approx((0.01, -0.026, 0.0))}
    calibration.take([calibration_fit("robot_3", (0.001, 0.001, 0.0))])
    assert calibration.corrections == {}, "its camera was put right"


def test_height_is_not_corrected() -> None:
    """An object on a pad looks like a camera that is off; a hand that goes too low would hit the pad."""
    calibration = FittedCalibration()
    calibration.take([calibration_fit("robot_3", (0.001, 0.0, 0.03))])
    assert calibration.corrections == {}


def test_a_fit_that_explains_nothing_corrects_nothing() -> None:
    calibration = FittedCalibration()
    calibration.take([msgspec.structs.replace(calibration_fit("robot_3", OFFSET), explains=False)])
    assert calibration.corrections == {}


def test_an_offset_that_is_too_large_is_for_a_person() -> None:
    calibration = FittedCalibration({"robot_3": OFFSET})
    calibration.take([calibration_fit("robot_3", (0.3, 0.0, 0.0))])
    assert calibration.corrections == {}
