"""Expert: scripted demonstrations of the known tasks (boxes, cylinders) from observations only.

It has no state, so it recovers from failed grasps by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from floop_robot.spec.layout import Vector
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.tasks.grasp_state import GraspEstimator, GraspParameters, GraspState
from floop_robot.spec.tasks.layouts import TCP_SPEED_M_S, YAW_SPEED_RAD_S

_ABOVE_M = 0.03
"""Height of the fingers over the object's top while they approach."""
_CARRY_HEIGHT_M = 0.11
_RELEASE_HEIGHT_M = 0.06
_BOX = OBJECT_CLASSES.index("box")
_GAIN = 0.6
"""Fraction of the remaining way commanded in one step."""
_MAX_ACTION = 0.5
"""Largest action of a demonstration: half speed, which stays clear of the limiter."""


class Expert:
    """Demonstrates picking and, where the task has a tote, placing."""

    def __init__(self, spec: TaskSpec) -> None:
        self._at = {name: part.start for name, part in spec.observation.slices.items()}
        self._sensor = GraspEstimator(spec.observation, GraspParameters())
        self._places = "tote_from_object" in self._at
        self._step_m, self._step_rad = TCP_SPEED_M_S * spec.period_s, YAW_SPEED_RAD_S * spec.period_s

    def mean(self, observation: Vector) -> Vector:
        """Action for a raw observation, shape (5,), in [-1, 1]."""
        sensed = self._sensor.read(observation)
        o = observation.tolist()
        if self._places and self._in_tote(sensed):
            return self._act(o, (0.0, 0.0, 0.1), 0.0, 1.0)
        if sensed.grasped:
            return self._carry(o, sensed)
        return self._approach(o)

    def sample(self, observation: Vector, rng: np.random.Generator, spread: float = 0.1) -> tuple[Vector, float]:
        """A demonstration with noise, which shows how to recover; its log-density is unknown (NaN)."""
        action = self.mean(observation)
        action[:4] += rng.normal(0.0, spread, 4).astype(np.float32)
        return np.clip(action, -1.0, 1.0), math.nan

    def _approach(self, o: list[float]) -> Vector:
        dx, dy, dz = self._part(o, "object_from_tcp", 3)
        height = o[self._at["object_size"] + 2]
        aside = math.hypot(dx, dy)
        # A funnel: the closer the fingers are to the axis of the object, the lower they may go.
        clearance = min(max((aside - 0.01) / 0.03, 0.0), 1.0) * (0.5 * height + _ABOVE_M)
        closing = aside < 0.012 and abs(dz) < 0.012
        return self._act(o, (dx, dy, dz + clearance), self._turn(o), -1.0 if closing else 1.0)

    def _carry(self, o: list[float], sensed: GraspState) -> Vector:
        if not self._places:
            return self._act(o, (0.0, 0.0, 0.1), 0.0, -1.0)
        x, y = sensed.tote_offset_m
        far = max(abs(x), abs(y))
        if far > 0.03:
            up = _CARRY_HEIGHT_M - sensed.lift_m
            share = min(max(sensed.lift_m / 0.08, 0.0), 1.0)
            return self._act(o, (share * x, share * y, up), 0.0, -1.0)
        down = _RELEASE_HEIGHT_M - sensed.object_height_m
        return self._act(o, (x, y, down), 0.0, 1.0 if down > -0.015 else -1.0)

    def _in_tote(self, sensed: GraspState) -> bool:
        x, y = sensed.tote_offset_m
        return max(abs(x), abs(y)) < 0.08 and sensed.object_height_m < _RELEASE_HEIGHT_M and not sensed.grasped

    def _turn(self, o: list[float]) -> float:
        """Smallest rotation (rad) that aligns the fingers with a box; round objects need none."""
        if o[self._at["object_class"] + _BOX] < 0.5:
            return 0.0
        sine, cosine = self._part(o, "yaw_difference", 2)
        return math.remainder(0.5 * math.atan2(sine, cosine), 0.5 * math.pi)

    def _act(self, o: list[float], way_m: Sequence[float], turn_rad: float, grip: float) -> Vector:
        """The action that moves the commanded TCP target towards the TCP plus `way_m`."""
        lag = self._part(o, "tracking_error", 3)
        move = [_GAIN * (w - e) / self._step_m for w, e in zip(way_m, lag, strict=True)]
        turn = _GAIN * turn_rad / self._step_rad
        moves = [min(max(m, -_MAX_ACTION), _MAX_ACTION) for m in (*move, turn)]
        return np.array([*moves, grip], np.float32)

    def _part(self, o: list[float], name: str, size: int) -> list[float]:
        start = self._at[name]
        return o[start : start + size]
