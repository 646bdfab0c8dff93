"""Rollouts: whole episodes of a policy in an environment, for gate, evaluation and demonstrations."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from floop_envs.env import ArmEnv
from floop_robot.core import PolicyActor
from floop_robot.spec.calibration import NO_OFFSET, Calibration
from floop_robot.spec.layout import Vector
from floop_robot.spec.records import ObjectReport
from floop_robot.spec.scenario import Scenario


class RolloutStep(msgspec.Struct, frozen=True):
    """One transition as a learner needs it."""

    obs: Vector
    action_requested: Vector
    action: Vector
    """Executed, after the limiter."""
    log_prob: float
    reward: float
    next_obs: Vector
    terminated: bool
    truncated: bool
    interventions: int


class RolloutResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one episode."""

    success: bool
    """As the robot observed it."""
    true_success: bool
    """As the simulator knows it; for reports only."""
    steps: int
    duration_s: float
    """Simulated time."""
    total_reward: float
    interventions: int
    """Servo ticks the limiter changed."""
    limit_violations: int
    """Servo ticks whose measured joints were outside the limits."""
    object: ObjectReport
    """The object as perceived at the start."""
    trace: tuple[RolloutStep, ...] = ()

    @property
    def furthest(self) -> float:
        """How far the episode came: its largest return up to any step, from the trace."""
        return float(np.cumsum([step.reward for step in self.trace]).max())


def run_episode(
    env: ArmEnv,
    actor: PolicyActor,
    scenario: Scenario,
    rng: np.random.Generator | None = None,
    sample: bool = False,
    record_trace: bool = False,
    give_up: Callable[[float], bool] | None = None,
    calibration: Calibration | None = None,
) -> RolloutResult:
    """Run `actor` in `scenario` with its mean actions, or with random ones (`sample`); `record_trace` fills `trace`.

    `give_up` sees each reward; when it returns True the episode is truncated there.
    `calibration` holds the policy's corrections; that for the scenario's robot applies.
    """
    rng = rng or np.random.default_rng(scenario.seed)
    obs, _ = env.reset(
        options={"scenario": scenario, "correction_m": (calibration or {}).get(scenario.robot, NO_OFFSET)}
    )
    perceived = report_object(env)
    total, interventions, violations, steps = 0.0, 0, 0, 0
    trace: list[RolloutStep] = []
    while True:
        requested, log_prob = actor.sample(obs, rng) if sample else (actor.mean(obs), float("nan"))
        after, reward, terminated, truncated, info = env.step(requested)
        truncated = truncated or (not terminated and give_up is not None and give_up(reward))
        total, steps = total + reward, steps + 1
        interventions, violations = interventions + info["interventions"], violations + info["limit_violations"]
        if record_trace:
            row = (obs, requested, info["action"], log_prob, reward, after, terminated, truncated)
            trace.append(RolloutStep(*row, info["interventions"]))
        obs = after
        if terminated or truncated:
            break
    return RolloutResult(
        success=info["is_success"],
        true_success=info["true_success"],
        steps=steps,
        duration_s=steps * env.rules.spec.period_s,
        total_reward=total,
        interventions=interventions,
        limit_violations=violations,
        object=perceived,
        trace=tuple(trace),
    )


def report_object(env: ArmEnv) -> ObjectReport:
    """The object as perceived now."""
    seen = env.state.object
    if seen is None:
        return ObjectReport("", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0)
    return ObjectReport(seen.object_class, seen.size_m, seen.position_m, seen.yaw_rad, env.correction_m)
