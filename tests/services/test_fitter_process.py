"""The fitter process: what robots recorded comes to it through the journal, and its fit goes back there."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from floop_robot.monitor.robot_fits import RobotFits
from floop_robot.spec.hidden_parameters import HiddenParameters
from floop_robot.stream.journal_follower import ROBOT_REPORTS, JournalFollower
from tests.support.recorded_robots import recorded_blocks
from tests.support.sample_policies import skilled
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for


def test_a_robot_with_a_worn_gripper_is_fitted(tmp_path: Path) -> None:
    fits = RobotFits()
    with SmallFleet(tmp_path, skilled(), robots=1) as fleet:
        fleet.start("ingest", "fitter")
        for block in recorded_blocks(HiddenParameters(gripper_force_factor=0.35), 5):
            fleet.report(block.records())
        with JournalFollower(fleet.config.endpoints.tail, ROBOT_REPORTS) as journal:

            def fitted() -> float | None:
                for found in journal.poll(0.1):
                    fits.take(found.block.info, found.block.events)
                fit = fits.fit("robot_1")
                return fit.mean("gripper_force_factor") if fit else None

            assert wait_for(fitted, 60.0, "a fit") == pytest.approx(0.35, abs=0.02)
        assert fleet.stop("fitter", signal.SIGINT) == 0
