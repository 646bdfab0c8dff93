"""Eight of the schedules that `benchmarks/ros_estop_schedules.py` plays by the hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from tests.support.ros.estop_schedules import Figures, play_round
from tests.support.ros.fleet_estop_rig import EstopFleet


@pytest.mark.slow
def test_no_stop_is_lost_and_no_reset_is_blind_while_everybody_is_killed_and_frozen(
    tmp_path: Path, domain: int
) -> None:
    fleet, figures = EstopFleet(tmp_path, domain, robots=4), Figures()
    try:
        for seed in range(2):
            play_round(fleet, seed, figures)
    finally:
        fleet.close()
    assert figures.schedules == 8 and figures.stops_heard > 0 and figures.manager_faults + figures.robot_faults > 0
    assert (figures.moving, figures.blind_resets) == (0, 0), figures.faults
