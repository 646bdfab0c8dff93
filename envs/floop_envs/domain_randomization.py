"""DomainRandomization: scenarios with everything that can't be perceived drawn anew in each episode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from floop_robot.core import ScenarioSource
from floop_robot.spec.hidden_parameters import HiddenRanges, HiddenWorlds
from floop_robot.spec.scenario import Scenario


class DomainRandomization:
    """Another source's scenarios, each in a world that may be that of the robot which reported it."""

    def __init__(self, source: ScenarioSource, worlds: Callable[[str], HiddenWorlds] | None = None) -> None:
        """`worlds`: what is known of a robot's world, by the name in the scenario; left out: as anywhere."""
        self._source, self._worlds = source, worlds or (lambda _: HiddenRanges())

    def sample(self, rng: np.random.Generator) -> Scenario:
        """Draw a scenario."""
        scenario = self._source.sample(rng)
        return self._worlds(scenario.robot).draw(rng).apply(scenario)
