"""What the reward of every manipulation task has in common: potential-based, from reach over grasp to its own goal.

The shaping (Ng, Harada, Russell 1999) changes no optimal policy.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import msgspec

from floop_robot.spec.layout import Vector
from floop_robot.spec.task import Judgement, TaskProgress, TaskSpec
from floop_robot.spec.tasks.grasp_state import GraspEstimator, GraspParameters, GraspState


class ShapedParameters(GraspParameters, frozen=True, kw_only=True):
    """Constants that every task has."""

    gamma: float = 0.97
    """Discount the shaping is exact for; learners should use the same."""
    scale: float = 5.0
    """Multiplies everything: rewards must stand out against the entropy bonus that SAC starts with."""
    reach_per_m: float = 5.0
    close_bonus: float = 0.5
    close_per_m: float = 25.0
    """A second, steeper reach term: without it nothing pulls the last 3 cm, and no grasp is found by chance."""
    grasp_bonus: float = 0.5
    step_cost: float = 0.03
    success_bonus: float = 5.0
    lift_height_m: float = 0.1
    hold_s: float
    """How long the goal must be reached without a break."""


P = TypeVar("P", bound=ShapedParameters)


class ShapedRules(ABC, Generic[P]):
    """Reward and success as pure functions of observations; a task says when its goal is reached, and its potential."""

    def __init__(self, spec: TaskSpec, parameters: P) -> None:
        self.spec, self.parameters = spec, parameters
        self._hold_steps = max(1, round(parameters.hold_s * spec.policy_rate_hz))
        self._sensor = GraspEstimator(spec.observation, parameters)

    @property
    def reward_parameters(self) -> dict[str, float]:
        """Every constant of the reward and of success."""
        values: dict[str, float] = msgspec.to_builtins(self.parameters)
        return values

    def start(self) -> TaskProgress:
        """Nothing achieved yet."""
        return TaskProgress()

    def judge(self, progress: TaskProgress, observation: Vector, next_observation: Vector) -> Judgement:
        """Judge the step from `observation` to `next_observation`; terminated means success."""
        p = self.parameters
        after = self._sensor.read(next_observation)
        held = progress.held_steps + 1 if self._reached(after) else 0
        success = held >= self._hold_steps
        shaping = p.gamma * self._potential(after) - self._potential(self._sensor.read(observation))
        reward = p.scale * (shaping - p.step_cost + (p.success_bonus if success else 0.0))
        return Judgement(reward=reward, success=success, terminated=success, progress=TaskProgress(held_steps=held))

    def _near(self, s: GraspState) -> float:
        """Potential of being near the object."""
        p = self.parameters
        value = 1.0 - math.tanh(p.reach_per_m * s.distance_m)
        return value + p.close_bonus * (1.0 - math.tanh(p.close_per_m * s.distance_m))

    @abstractmethod
    def _reached(self, s: GraspState) -> bool:
        """Whether this is what must last for `hold_s`."""

    @abstractmethod
    def _potential(self, s: GraspState) -> float:
        """How far on the way to success this is."""
