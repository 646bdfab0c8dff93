"""floop/PickPlace-v0: take the object from the table and leave it in the tote."""

from __future__ import annotations

import math

from floop_robot.spec.task import TaskSpec
from floop_robot.spec.tasks.grasp_state import GraspState
from floop_robot.spec.tasks.layouts import ACTION, PLACE_OBSERVATION, POLICY_RATE_HZ
from floop_robot.spec.tasks.shaped import ShapedParameters, ShapedRules

TOTE_INSIDE_M = 0.16
"""Inner edge length of the square tote."""
TOTE_HEIGHT_M = 0.05
"""Height of the tote's walls above the table."""


class PlaceParameters(ShapedParameters, frozen=True, kw_only=True):
    """Every constant of the reward and of success; `reward_id` hashes them."""

    lift_bonus: float = 1.0
    carry_bonus: float = 2.0
    carry_per_m: float = 4.0
    in_tote_bonus: float = 1.0
    hold_s: float = 0.16
    inside_m: float = TOTE_INSIDE_M
    inside_height_m: float = TOTE_HEIGHT_M


class PlaceRules(ShapedRules[PlaceParameters]):
    """Reward and success of putting an object into a tote."""

    def __init__(self, policy_rate_hz: float = POLICY_RATE_HZ, parameters: PlaceParameters | None = None) -> None:
        spec = TaskSpec(
            id="floop/PickPlace-v0",
            meaning="grasp the perceived object, carry it over the tote and release it there",
            observation=PLACE_OBSERVATION,
            action=ACTION,
            policy_rate_hz=policy_rate_hz,
            max_steps=round(4.8 * policy_rate_hz),
        )
        super().__init__(spec, parameters or PlaceParameters())

    def _reached(self, s: GraspState) -> bool:
        p = self.parameters
        x, y = s.tote_offset_m
        inside = max(abs(x), abs(y)) <= 0.5 * p.inside_m
        return s.seen and inside and s.released and s.object_height_m <= p.inside_height_m

    def _potential(self, s: GraspState) -> float:
        p = self.parameters
        if self._reached(s):
            return 1.0 + p.close_bonus + p.grasp_bonus + p.lift_bonus + p.carry_bonus + p.in_tote_bonus
        value = self._near(s)
        if s.grasped:
            lifted = min(max(s.lift_m / p.lift_height_m, 0.0), 1.0)
            value += p.grasp_bonus + p.lift_bonus * lifted
            value += p.carry_bonus * lifted * (1.0 - math.tanh(p.carry_per_m * math.hypot(*s.tote_offset_m)))
        return value
