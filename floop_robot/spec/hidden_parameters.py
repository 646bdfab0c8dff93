"""HiddenParameters: what differs between a robot's world and the simulator, and no report names.

This is the one list of such parameters. Explorers draw them (`HiddenRanges`), simulated robots have them, and
`floop_robot/fit` estimates them from what a robot recorded (`SimulatorFit`).
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np

from floop_robot.spec.scenario import Scenario

Range = tuple[float, float]
_replace = msgspec.structs.replace


class HiddenParameters(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One world. The defaults are the simulator's own."""

    friction_factor: float = 1.0
    """Of the object against everything, over that of its model."""
    mass_factor: float = 1.0
    table_friction: float = 0.7
    gripper_force_factor: float = 1.0
    latency_s: float = 0.0
    """Age of what perception reports."""
    position_noise_m: float = 0.001
    """Standard deviation of perceived positions, along each axis."""
    calibration_x_m: float = 0.0
    """Constant error of perceived positions, base frame."""
    calibration_y_m: float = 0.0
    calibration_z_m: float = 0.0

    def apply(self, scenario: Scenario) -> Scenario:
        """The scenario in this world; what the scenario itself changes is kept."""
        thing, (x, y, z) = scenario.object, scenario.calibration_offset_m
        return _replace(
            scenario,
            object=_replace(
                thing,
                mass_kg=thing.mass_kg * self.mass_factor,
                lateral_friction=thing.lateral_friction * self.friction_factor,
            ),
            table_friction=self.table_friction,
            gripper_force_n=scenario.gripper_force_n * self.gripper_force_factor,
            latency_s=scenario.latency_s + self.latency_s,
            position_noise_m=self.position_noise_m,
            calibration_offset_m=(x + self.calibration_x_m, y + self.calibration_y_m, z + self.calibration_z_m),
        )


PARAMETERS: tuple[str, ...] = HiddenParameters.__struct_fields__
"""Names, in the order of the fields."""


class HiddenWorlds(Protocol):
    """Whoever says what a robot's world may be like."""

    def draw(self, rng: np.random.Generator) -> HiddenParameters:
        """A world at random."""
        ...


class HiddenRanges(msgspec.Struct, frozen=True, kw_only=True):
    """Ranges of the hidden parameters; a `HiddenWorlds`.

    The defaults are what explorers vary from episode to episode: nobody knows a robot's true friction, mass, delay or
    calibration.
    """

    friction_factor: Range = (0.8, 1.2)
    mass_factor: Range = (0.75, 1.3)
    table_friction: Range = (0.55, 0.85)
    gripper_force_factor: Range = (0.8, 1.1)
    latency_s: Range = (0.0, 0.03)
    position_noise_m: Range = (0.0005, 0.0025)
    calibration_x_m: Range = (-0.003, 0.003)
    calibration_y_m: Range = (-0.003, 0.003)
    calibration_z_m: Range = (-0.003, 0.003)

    def draw(self, rng: np.random.Generator) -> HiddenParameters:
        """A world at random, uniform and independent in each parameter."""
        return HiddenParameters(**{name: float(rng.uniform(*getattr(self, name))) for name in PARAMETERS})
