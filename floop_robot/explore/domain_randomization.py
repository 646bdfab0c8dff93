"""DomainRandomization: scenarios with everything that can't be perceived drawn anew in each episode."""

from __future__ import annotations

import msgspec
import numpy as np

from floop_envs.scenarios import Range
from floop_robot.core import ScenarioSource
from floop_robot.spec.scenario import Scenario


class RandomizationRanges(msgspec.Struct, frozen=True, kw_only=True):
    """What explorers vary from episode to episode: nobody knows a robot's true friction, mass, delay or calibration."""

    friction_factor: Range = (0.8, 1.2)
    mass_factor: Range = (0.75, 1.3)
    table_friction: Range = (0.55, 0.85)
    gripper_force_factor: Range = (0.8, 1.1)
    latency_s: Range = (0.0, 0.03)
    position_noise_m: Range = (0.0005, 0.0025)
    calibration_m: Range = (-0.003, 0.003)


class DomainRandomization:
    """Another source's scenarios with everything that can't be perceived drawn from `RandomizationRanges`."""

    def __init__(self, source: ScenarioSource, ranges: RandomizationRanges | None = None) -> None:
        self._source, self._ranges = source, ranges or RandomizationRanges()

    def sample(self, rng: np.random.Generator) -> Scenario:
        """Draw a scenario."""
        scenario, r = self._source.sample(rng), self._ranges
        thing = scenario.object
        x, y, z = (float(v) for v in rng.uniform(*r.calibration_m, 3))
        return msgspec.structs.replace(
            scenario,
            object=msgspec.structs.replace(
                thing,
                mass_kg=thing.mass_kg * float(rng.uniform(*r.mass_factor)),
                lateral_friction=thing.lateral_friction * float(rng.uniform(*r.friction_factor)),
            ),
            table_friction=float(rng.uniform(*r.table_friction)),
            gripper_force_n=scenario.gripper_force_n * float(rng.uniform(*r.gripper_force_factor)),
            latency_s=float(rng.uniform(*r.latency_s)),
            position_noise_m=float(rng.uniform(*r.position_noise_m)),
            calibration_offset_m=(x, y, z),
        )
