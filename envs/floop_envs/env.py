"""ArmEnv: a Gymnasium environment of one task on one simulated arm, with the control path of a real robot.

A step: action → `ArmController` → joint target → `SafetyLimiter` (servo rate) → physics → `ObservationBuilder`.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import msgspec
import numpy as np

from floop_envs.renderer import Image
from floop_envs.scenarios import TrainingScenarios
from floop_envs.world import PHYSICS_RATE_HZ, SERVO_RATE_HZ, ArmMotion, World
from floop_robot.core import ScenarioSource
from floop_robot.robot.controller import ArmController
from floop_robot.robot.kinematics import Kinematics, yaw_of
from floop_robot.robot.limiter import SafetyLimiter, ticks_of
from floop_robot.robot.messages import RobotState
from floop_robot.robot.observation_builder import ObservationBuilder
from floop_robot.spec.calibration import NO_OFFSET
from floop_robot.spec.layout import Vector
from floop_robot.spec.robot_model import RobotModel, load_robot
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.task import TaskProgress, TaskRules
from floop_robot.spec.tasks import get_task


class Approach(msgspec.Struct, frozen=True, kw_only=True):
    """An arm in the middle of an episode in which it has touched nothing yet: `reset` goes on from it in any world."""

    motion: ArmMotion
    controller: ArmController
    limiter: SafetyLimiter
    action: Vector
    """Executed last, in [-1, 1]."""
    progress: TaskProgress
    steps: int
    """Policy steps since the start of the episode."""


class ArmEnv(gymnasium.Env[Vector, Vector]):
    """One task on one simulated arm.

    Observations are raw: SI units, base frame, float32, shape (`rules.spec.observation.size`,). The task's layout has
    names and ranges. Actions are in [-1, 1], shape (5,). `reset(options={"scenario": Scenario(...)})`
    runs that scenario; `"correction_m"` beside it is subtracted from perceived object positions. With `"approach"`
    beside it, the episode goes on from there (`approach`).

    `info` after a step:

    * `is_success`: success as the robot observes it
    * `true_success`: success as the simulator knows it, at the end of an episode; for reports only
    * `action`: the executed action, after the limiter
    * `interventions`: servo ticks that the limiter changed
    * `limit_violations`: servo ticks whose measured joints were outside the limits
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012 - gymnasium reads it from the class

    def __init__(self, rules: TaskRules, robot: RobotModel, scenarios: ScenarioSource, render_mode: str | None = None):
        self.rules, self.robot, self.scenarios, self.render_mode = rules, robot, scenarios, render_mode
        spec = rules.spec
        self.observation_space = gymnasium.spaces.Box(spec.observation.low, spec.observation.high, dtype=np.float32)
        self.action_space = gymnasium.spaces.Box(spec.action.low, spec.action.high, dtype=np.float32)
        physics_rate_hz = _physics_rate(spec.policy_rate_hz)
        self.world = World(robot, physics_rate_hz)
        self._steps_per_action = round(physics_rate_hz / spec.policy_rate_hz)
        self._controller = ArmController(robot, spec)
        self._limiter = SafetyLimiter(robot, SERVO_RATE_HZ, ticks_of(SERVO_RATE_HZ, spec.policy_rate_hz))
        self._kinematics = Kinematics(robot)
        self._observation_builder = ObservationBuilder(spec, self._kinematics, robot.gripper)
        self._violations = _ViolationCheck(robot)
        self.scenario: Scenario | None = None
        self.correction_m = NO_OFFSET
        """What is subtracted from perceived object positions in this episode."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Start an episode of `options["scenario"]`, or of a scenario drawn from the source."""
        super().reset(seed=seed)
        scenario = (options or {}).get("scenario") or self.scenarios.sample(self.np_random)
        self.scenario, self.correction_m = scenario, (options or {}).get("correction_m", NO_OFFSET)
        approach: Approach | None = (options or {}).get("approach")
        self.world.reset(scenario, approach.motion if approach else None)
        self._state = self.world.state()
        if approach:
            self._controller, self._limiter = copy.copy(approach.controller), copy.copy(approach.limiter)
            self._progress, self._action = approach.progress, approach.action
            self._steps, self._physics_steps = approach.steps, approach.motion.steps
        else:
            self._controller.reset(self._state.q_rad)
            self._limiter.reset(self._state.q_rad)
            self._progress, self._action = self.rules.start(), np.zeros(self.rules.spec.action.size, np.float32)
            self._steps = self._physics_steps = 0
        self._observation_builder.start()
        self._observation = self._observe()
        return self._observation, {}

    def approach(self) -> Approach:
        """The episode up to now, for `reset`: worth keeping where the arm has not touched anything."""
        return Approach(
            motion=self.world.motion(),
            controller=copy.copy(self._controller),
            limiter=copy.copy(self._limiter),
            action=self._action,
            progress=self._progress,
            steps=self._steps,
        )

    def _observe(self) -> Vector:
        return self._observation_builder.observe(
            self._state, self._controller.target[0], self._action, correction_m=self.correction_m
        )

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Act for one policy period."""
        requested = np.asarray(action, np.float32)
        target = self._controller.command(requested, self._state.q_rad)
        interventions = violations = 0
        end = self._physics_steps + self._steps_per_action
        while self._physics_steps < end:
            into_tick = self._physics_steps % self.world.steps_per_tick
            if into_tick == 0:  # a policy period may be no whole number of servo ticks
                command = self._limiter.step(target.q_rad)
                interventions += command.intervened
                violations += self._violations.found(*self.world.joints())
                self.world.command(command.q, command.dq, target.gripper_width_m, target.gripper_force_n)
            count = min(self.world.steps_per_tick - into_tick, end - self._physics_steps)
            self.world.step(count)
            self._physics_steps += count
        self._action = self._controller.executed(requested, self._limiter.accepted, interventions)
        return self._judge(interventions, violations)

    def _judge(self, interventions: int, violations: int) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        self._state = self.world.state()
        before = self._observation
        self._observation = self._observe()
        judgement = self.rules.judge(self._progress, before, self._observation)
        self._progress = judgement.progress
        self._steps += 1
        truncated = not judgement.terminated and self._steps >= self.rules.spec.max_steps
        info = {
            "is_success": judgement.success,
            "true_success": self.true_success() if judgement.terminated or truncated else False,
            "action": self._action,
            "interventions": interventions,
            "limit_violations": violations,
        }
        return self._observation, judgement.reward, judgement.terminated, truncated, info

    @property
    def state(self) -> RobotState:
        """The robot state now, as a driver would publish it."""
        return self._state

    def yaws_rad(self) -> tuple[float, float]:
        """Yaws of object (0 without one) and gripper as perceived now, base frame."""
        seen = self._state.object
        return seen.yaw_rad if seen else 0.0, yaw_of(self._kinematics.pose(self._state.q_rad))

    def true_success(self) -> bool:
        """Whether the task is really done, as the simulator knows; for reports only."""
        return self.world.true_success()

    def render(self) -> Image | None:
        """RGB image, uint8, shape (height, width, 3), for `render_mode="rgb_array"`; else None."""
        return self.world.picture() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Disconnect from PyBullet."""
        self.world.close()


class _ViolationCheck:
    """Finds measured joint states outside the limits."""

    def __init__(self, robot: RobotModel) -> None:
        limits = robot.limits
        self._low, self._high = limits.position_lower_rad, limits.position_upper_rad
        self._speed = limits.velocity_rad_s

    def found(self, q: tuple[float, ...], dq: tuple[float, ...]) -> bool:
        # A loop takes half the time of any().
        for x, v, low, high, top in zip(q, dq, self._low, self._high, self._speed, strict=True):
            if not (low <= x <= high and -top <= v <= top):
                return True
        return False


def _physics_rate(policy_rate_hz: float) -> float:
    """The lowest physics rate whose step divides both the policy period and the servo period, Hz."""
    rate = PHYSICS_RATE_HZ
    while (rate / policy_rate_hz) % 1 or (rate / SERVO_RATE_HZ) % 1:
        rate += SERVO_RATE_HZ
    return rate


def make_env(
    task_id: str,
    robot: str = "panda",
    scenarios: ScenarioSource | None = None,
    render_mode: str | None = None,
    policy_rate_hz: float | None = None,
) -> ArmEnv:
    """An environment of the task on the robot; by default with training scenarios. Raises `UnknownName`."""
    rules = get_task(task_id) if policy_rate_hz is None else get_task(task_id, policy_rate_hz)
    return ArmEnv(rules, load_robot(robot), scenarios or TrainingScenarios(task_id), render_mode)
