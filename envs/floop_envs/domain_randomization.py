"""DomainRandomization: scenarios with everything that can't be perceived drawn anew in each episode."""

from __future__ import annotations

import numpy as np

from floop_robot.core import ScenarioSource
from floop_robot.monitor.robot_fits import RobotFits
from floop_robot.spec.scenario import Scenario


class DomainRandomization:
    """Another source's scenarios, each in a world that may be that of the robot which reported it."""

    def __init__(self, source: ScenarioSource, fits: RobotFits | None = None) -> None:
        """`fits`: what is known of robots' worlds; without it, and for other scenarios, they vary as anywhere."""
        self._source, self._fits = source, fits or RobotFits()

    def sample(self, rng: np.random.Generator) -> Scenario:
        """Draw a scenario."""
        scenario = self._source.sample(rng)
        return self._fits.worlds(scenario.robot).draw(rng).apply(scenario)
