"""floop/Pick-v0: take the object from the table, lift it 10 cm and hold it."""

from __future__ import annotations

import math

import msgspec

from floop_robot.spec.layout import Vector
from floop_robot.spec.task import Judgement, Progress, TaskSpec
from floop_robot.spec.tasks.layouts import ACTION, PICK_OBSERVATION, POLICY_RATE_HZ
from floop_robot.spec.tasks.sensing import GraspParameters, Sensed, Sensor


class PickParameters(GraspParameters, frozen=True, kw_only=True):
    """Every constant of the reward and of success; `reward_id` hashes them."""

    gamma: float = 0.97
    """Discount the shaping is exact for; learners should use the same."""
    scale: float = 5.0
    """Multiplies everything: rewards must stand out against the entropy bonus that SAC starts with."""
    reach_per_m: float = 5.0
    close_bonus: float = 0.5
    close_per_m: float = 25.0
    """A second, steeper reach term: without it nothing pulls the last 3 cm, and no grasp is found by chance."""
    grasp_bonus: float = 0.5
    lift_bonus: float = 2.0
    step_cost: float = 0.03
    success_bonus: float = 5.0
    lift_height_m: float = 0.1
    hold_s: float = 0.24


class PickRules:
    """Reward and success of picking, as pure functions of observations.

    The shaping is potential-based (Ng, Harada, Russell 1999: it changes no optimal policy).
    """

    def __init__(self, policy_rate_hz: float = POLICY_RATE_HZ, parameters: PickParameters | None = None) -> None:
        self.parameters = parameters or PickParameters()
        self.spec = TaskSpec(
            id="floop/Pick-v0",
            meaning="grasp the perceived object, lift its centre 10 cm above rest and hold it 0.24 s",
            observation=PICK_OBSERVATION,
            action=ACTION,
            policy_rate_hz=policy_rate_hz,
            max_steps=round(3.2 * policy_rate_hz),
        )
        self._hold_steps = max(1, round(self.parameters.hold_s * policy_rate_hz))
        self._sensor = Sensor(self.spec.observation, self.parameters)

    @property
    def reward_parameters(self) -> dict[str, float]:
        """Every constant of the reward and of success."""
        values: dict[str, float] = msgspec.to_builtins(self.parameters)
        return values

    def start(self) -> Progress:
        """Nothing held yet."""
        return Progress()

    def judge(self, progress: Progress, observation: Vector, next_observation: Vector) -> Judgement:
        """Judge the step from `observation` to `next_observation`; terminated means success."""
        p = self.parameters
        after = self._sensor.read(next_observation)
        up = after.grasped and after.lift_m >= p.lift_height_m
        held = progress.held_steps + 1 if up else 0
        success = held >= self._hold_steps
        shaping = p.gamma * self._potential(after) - self._potential(self._sensor.read(observation))
        reward = p.scale * (shaping - p.step_cost + (p.success_bonus if success else 0.0))
        return Judgement(reward=reward, success=success, terminated=success, progress=Progress(held_steps=held))

    def _potential(self, s: Sensed) -> float:
        p = self.parameters
        value = 1.0 - math.tanh(p.reach_per_m * s.distance_m)
        value += p.close_bonus * (1.0 - math.tanh(p.close_per_m * s.distance_m))
        if s.grasped:
            value += p.grasp_bonus + p.lift_bonus * min(max(s.lift_m / p.lift_height_m, 0.0), 1.2)
        return value
