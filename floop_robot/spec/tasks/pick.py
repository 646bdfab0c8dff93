"""floop/Pick-v0: take the object from the table, lift it 10 cm and hold it."""

from __future__ import annotations

from floop_robot.spec.task import TaskSpec
from floop_robot.spec.tasks.grasp_state import GraspState
from floop_robot.spec.tasks.layouts import ACTION, PICK_OBSERVATION, POLICY_RATE_HZ
from floop_robot.spec.tasks.shaped import ShapedParameters, ShapedRules


class PickParameters(ShapedParameters, frozen=True, kw_only=True):
    """Every constant of the reward and of success; `reward_id` hashes them."""

    lift_bonus: float = 2.0
    hold_s: float = 0.24


class PickRules(ShapedRules[PickParameters]):
    """Reward and success of picking."""

    def __init__(self, policy_rate_hz: float = POLICY_RATE_HZ, parameters: PickParameters | None = None) -> None:
        spec = TaskSpec(
            id="floop/Pick-v0",
            meaning="grasp the perceived object, lift its centre 10 cm above rest and hold it 0.24 s",
            observation=PICK_OBSERVATION,
            action=ACTION,
            policy_rate_hz=policy_rate_hz,
            max_steps=round(3.2 * policy_rate_hz),
        )
        super().__init__(spec, parameters or PickParameters())

    def _reached(self, s: GraspState) -> bool:
        return s.grasped and s.lift_m >= self.parameters.lift_height_m

    def _potential(self, s: GraspState) -> float:
        p = self.parameters
        value = self._near(s)
        if s.grasped:
            value += p.grasp_bonus + p.lift_bonus * min(max(s.lift_m / p.lift_height_m, 0.0), 1.2)
        return value
