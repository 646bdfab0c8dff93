"""DomainRandomization: scenarios with everything that can't be perceived drawn anew in each episode."""

from __future__ import annotations

import numpy as np

from floop_robot.core import ScenarioSource
from floop_robot.spec.hidden_parameters import HiddenRanges, HiddenWorlds
from floop_robot.spec.scenario import Scenario


class DomainRandomization:
    """Another source's scenarios, each in a world drawn from `worlds`."""

    def __init__(self, source: ScenarioSource, worlds: HiddenWorlds | None = None) -> None:
        self._source, self._worlds = source, worlds or HiddenRanges()

    def sample(self, rng: np.random.Generator) -> Scenario:
        """Draw a scenario."""
        scenario = self._source.sample(rng)
        return self._worlds.draw(rng).apply(scenario)
