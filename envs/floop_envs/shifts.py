"""How the world may change: shifts by name, and each robot's hidden distance from the simulator.

Only simulated robots use this file. Learner, gate and explorers meet a shift through what robots report of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import msgspec
import numpy as np

from floop_envs.scenarios import TrainingScenarios, model_of
from floop_robot.core import ScenarioSource
from floop_robot.spec.errors import UnknownName
from floop_robot.spec.hidden_parameters import HiddenRanges, Range
from floop_robot.spec.scenario import Scenario

_replace = msgspec.structs.replace
Change = Callable[[Scenario, np.random.Generator], Scenario]


def _of_class(name: str) -> Change:
    def change(scenario: Scenario, rng: np.random.Generator) -> Scenario:
        return _replace(scenario, object=model_of(name).draw(rng))

    return change


def _object(**ranges: Range) -> Change:
    def change(scenario: Scenario, rng: np.random.Generator) -> Scenario:
        values = {field: float(rng.uniform(*span)) for field, span in ranges.items()}
        return _replace(scenario, object=_replace(scenario.object, **values))

    return change


def _world(**values: object) -> Change:
    def change(scenario: Scenario, rng: np.random.Generator) -> Scenario:
        return _replace(scenario, **values)

    return change


def _sized(x_m: Range, y_m: Range, z_m: Range, name: str = "") -> Change:
    """Objects of other sizes: of the class `name`, else of their own."""

    def change(scenario: Scenario, rng: np.random.Generator) -> Scenario:
        model = model_of(name or scenario.object.object_class)
        x, y, z = (float(rng.uniform(*span)) for span in (x_m, y_m, z_m))
        return _replace(scenario, object=model.draw(rng, (x, y, z)))

    return change


class WorldShift(msgspec.Struct, frozen=True):
    """A named change of the objects or of the world."""

    name: str
    meaning: str
    change: Change


_USUAL, _SMALL, _BALL = (0.036, 0.06), (0.012, 0.018), (0.014, 0.022)

SHIFTS: tuple[WorldShift, ...] = (
    WorldShift(
        "new-object", "open baskets, wider than the gripper: they must be taken by the rim", _of_class("basket")
    ),
    WorldShift(
        "sphere", "balls of 14 to 22 mm, which roll away from a careless touch", _sized(_BALL, _BALL, _BALL, "sphere")
    ),
    WorldShift("small", "objects of 12 to 18 mm", _sized(_SMALL, _SMALL, _SMALL)),
    WorldShift(
        "flat",
        "plates, 8 to 12 mm high: the fingers must go right down to the table",
        _sized(_USUAL, _USUAL, (0.008, 0.012)),
    ),
    WorldShift(
        "tall",
        "objects of 10 to 14 cm height, which fall over when they are touched from the side",
        _sized((0.036, 0.05), (0.036, 0.05), (0.1, 0.14)),
    ),
    WorldShift(
        "slippery",
        "objects of 0.6 to 0.8 kg with friction 0.28 to 0.36: they slip out of a hasty grasp",
        _object(mass_kg=(0.6, 0.8), lateral_friction=(0.28, 0.36)),
    ),
    WorldShift("worn-grip", "the gripper presses with 8 N instead of 20", _world(gripper_force_n=8.0)),
    WorldShift("latency", "perception arrives 0.26 s late", _world(latency_s=0.26)),
    WorldShift("calibration", "perceived positions 4 cm off", _world(calibration_offset_m=(0.03, -0.026, 0.0))),
)


def get_shift(name: str) -> WorldShift:
    """The shift called `name`; raises `UnknownName`."""
    for shift in SHIFTS:
        if shift.name == name:
            return shift
    raise UnknownName("shift", name, (s.name for s in SHIFTS))


class ShiftedScenarios:
    """Known tasks after a shift."""

    def __init__(self, shift: str, base: ScenarioSource) -> None:
        self._change = get_shift(shift).change
        self._base = base

    def sample(self, rng: np.random.Generator) -> Scenario:
        """A scenario of the base, changed."""
        return self._change(self._base.sample(rng), rng)


def shifted_scenarios(shift: str, task: str) -> ShiftedScenarios:
    """Training tasks of `task` after `shift`; raises `UnknownName`."""
    return ShiftedScenarios(shift, TrainingScenarios(task))


REALITY_GAP = HiddenRanges(
    friction_factor=(0.85, 1.15),
    mass_factor=(0.8, 1.25),
    table_friction=(0.6, 0.8),
    gripper_force_factor=(0.85, 1.1),
    latency_s=(0.0, 0.02),
    position_noise_m=(0.0005, 0.002),
    calibration_z_m=(-0.002, 0.002),
)
"""How far a simulated robot's world may differ from the simulator that explorers and gate use."""


class RealityGap:
    """Hidden parameters of one robot: drawn once from its name and the fleet's seed, then fixed."""

    def __init__(self, robot: str, seed: int, ranges: HiddenRanges = REALITY_GAP) -> None:
        self.parameters = ranges.draw(np.random.default_rng((seed, zlib.crc32(robot.encode()))))

    def apply(self, scenario: Scenario) -> Scenario:
        """The scenario with this robot's hidden parameters; a shift in it is kept."""
        return self.parameters.apply(scenario)
