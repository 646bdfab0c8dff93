"""Scenario: everything that makes one simulated episode reproducible, and the catalog of objects it draws on.

A scenario holds both what a robot could perceive (class, size, pose) and what it could not (mass, friction, sensor
error, latency): the second kind is what "the reality gap" is made of.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec
import numpy as np


class Shape(enum.StrEnum):
    """How an object is built in the simulator."""

    BOX = "box"
    CYLINDER = "cylinder"
    SPHERE = "sphere"
    OPEN_BASKET = "open_basket"
    """Four walls and a floor, open above; wider than the gripper, so it is taken by its rim."""


class ObjectSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One object on the table."""

    object_class: str
    """The name perception reports; one of `OBJECT_CLASSES`."""
    shape: Shape
    size_m: tuple[float, float, float]
    """Full extents along the object's own axes."""
    mass_kg: float
    lateral_friction: float


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One episode. Same scenario, same policy and same seed give the same episode to the bit."""

    task: str
    seed: int
    """Seeds everything random inside the episode (sensor noise)."""
    object: ObjectSpec
    object_xy_m: tuple[float, float]
    """Where the object stands, robot base frame."""
    object_yaw_rad: float
    tote_xy_m: tuple[float, float] | None = None
    """Center of the tote, robot base frame; None where the task has none."""
    table_friction: float = 0.7
    gripper_force_n: float = 20.0
    finger_friction: float = 1.0
    calibration_offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Constant error of perceived object positions."""
    position_noise_m: float = 0.001
    """Standard deviation of the perceived object position."""
    latency_s: float = 0.0
    """Age of what perception reports."""
    robot: str = ""
    """Robot whose world this is, for policies with corrections for it; empty for the simulator's own."""


class ScenarioSource(Protocol):
    """Whoever decides what the next episode will be."""

    def sample(self, rng: np.random.Generator) -> Scenario:
        """Draw a scenario."""
        ...


OBJECT_CLASSES: tuple[str, ...] = (
    "box", "cylinder", "sphere", "basket", "reserved_4", "reserved_5", "reserved_6", "reserved_7",
)  # fmt: skip
"""Perceived object classes; the order is the one-hot order in the observation. Part of the contract."""
