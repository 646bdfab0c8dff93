"""The simulated driver: what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from floop_robot.sim.sim_robot import SimDriver
from floop_robot.sim.sim_world import RobotScenarios
from floop_robot.spec.errors import ConfigError


def test_a_servo_rate_that_would_run_its_world_too_fast_is_refused(tmp_path: Path) -> None:
    """Each command moves the world by 20 ms: at 100 Hz it would run at twice real time, and say it keeps real time."""
    nothing = cast(Any, None)
    scenarios = RobotScenarios("floop/Pick-v0", "robot_1", 0, 0)
    with pytest.raises(ConfigError, match="servo_rate_hz is 100, but simulated arms take commands at 50 Hz"):
        SimDriver(nothing, nothing, scenarios, tmp_path, 100.0)
