"""RobotFits: the last fit of a robot counts; fits that explain nothing change no world."""

from __future__ import annotations

import msgspec

from floop_robot.monitor.robot_fits import RobotFits
from floop_robot.spec.hidden_parameters import HiddenRanges
from floop_robot.spec.records import Source
from floop_robot.spec.simulator_fit import fit_event
from tests.support.sample_fits import calibration_fit
from tests.support.sample_records import stream_info

FIT = calibration_fit("robot_1", (0.03, 0.0, 0.0))
FITTER = stream_info("fitter", source=Source.FITTER)


def test_the_last_fit_of_a_robot_counts() -> None:
    fits, better = RobotFits(), calibration_fit("robot_1", (0.02, 0.0, 0.0))
    fits.take(FITTER, [fit_event(FIT, 0), fit_event(better, 1)])
    assert fits.worlds("robot_1") == fits.fit("robot_1") == better and fits.changes == 2
    assert fits.worlds("robot_2") == HiddenRanges()


def test_only_fitters_tell_fits() -> None:
    fits = RobotFits()
    fits.take(stream_info("robot_1"), [fit_event(FIT, 0)])
    assert fits.fit("robot_1") is None and fits.changes == 0


def test_a_fit_that_explains_nothing_changes_no_world() -> None:
    fits = RobotFits()
    fits.take(FITTER, [fit_event(msgspec.structs.replace(FIT, explains=False), 0)])
    assert fits.worlds("robot_1") == HiddenRanges()
