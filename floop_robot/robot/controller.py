"""ArmController: turns a policy's action in [-1, 1] into the joint target of one policy period.

An action is (dx, dy, dz, dyaw, gripper). The first four move the TCP target, at up to `TCP_SPEED_M_S` and
`YAW_SPEED_RAD_S`; the tool always points down. The last is the gripper opening: -1 closed, +1 open. Environments and
robots both use this class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from floop_robot.robot.kinematics import Kinematics, tool_down, yaw_of
from floop_robot.robot.messages import JointTarget, Vec3
from floop_robot.spec.layout import Vector
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.tasks.layouts import TCP_SPEED_M_S, YAW_SPEED_RAD_S

YAW_RANGE_RAD: Final = math.pi / 2 + 0.1
"""A gripper is symmetric, so a quarter turn to either side of home reaches every grasp."""
MAX_LEAD_M: Final = 0.05
"""The target stays this close to the measured TCP, so that it does not run away while the arm pushes on something.

It also bounds the speed of long motions to about 0.25 m/s, because the arm lags behind its target."""
WORKSPACE_MARGIN_M: Final = 0.003
"""The target stays this far inside the workspace, so that IK tolerance and following never touch the limiter's box."""
JOINT_MARGIN_RAD: Final = 0.04
"""Targets stay this far inside the joint range: at full speed the simulated Panda overshoots by up to 0.033 rad.

An arm that is closer to an end may stay as close as it is, else it could not move at all."""
MARGIN_SHARE: Final = 0.25
"""The margin at either end is at most this share of a joint's range: a short range is not locked."""
GRIP_FORCE_N: Final = 20.0


class ArmController:
    """Keeps the commanded TCP target of one arm. One per thread; call `reset` at the start of each episode."""

    def __init__(self, model: RobotModel, spec: TaskSpec) -> None:
        self._kinematics = Kinematics(with_margin(model))
        self._gripper = model.gripper
        self._force_n = min(GRIP_FORCE_N, model.gripper.max_force_n)
        self._low = [low + WORKSPACE_MARGIN_M for low in model.limits.workspace_low_m]
        self._high = [high - WORKSPACE_MARGIN_M for high in model.limits.workspace_high_m]
        self._step_m = TCP_SPEED_M_S * spec.period_s
        self._step_rad = YAW_SPEED_RAD_S * spec.period_s
        self._home_yaw = yaw_of(self._kinematics.pose(model.home_rad))
        self.ik_failures = 0
        """Commands that repeated the last target because inverse kinematics found no joints for the pose."""
        self.reset(model.home_rad)

    def reset(self, q: Sequence[float]) -> None:
        """Set the target to the TCP pose of the joints `q` (rad)."""
        self._rebase(tuple(map(float, q)))
        self._before = self._position, self._yaw

    def _rebase(self, q: tuple[float, ...]) -> None:
        pose = self._kinematics.pose(q)
        self._q = q
        self._position: Vec3 = (float(pose[0, 3]), float(pose[1, 3]), float(pose[2, 3]))
        self._yaw = yaw_of(pose)
        if abs(turned := self._yaw - self._home_yaw) > math.pi:  # it does not jump where home points backward
            self._yaw -= math.copysign(math.tau, turned)

    @property
    def target(self) -> tuple[Vec3, float]:
        """Commanded TCP position (m, base frame) and yaw (rad)."""
        return self._position, self._yaw

    def command(self, action: Vector, q_measured: Sequence[float]) -> JointTarget:
        """Move the target by `action`, shape (5,), and solve for the joints; `q_measured` are the measured ones (rad).

        A pose that can't be reached leaves the target unchanged. An action that is not finite becomes a target that is
        not finite, so that safety sees it, holds and counts it.
        """
        dx, dy, dz, dyaw, grip = map(float, action)
        self._before = self._position, self._yaw
        if not math.isfinite(dx + dy + dz + dyaw + grip):
            return self._target((math.nan,) * len(self._q), 0.0)
        position = self._within_lead((dx, dy, dz), self._kinematics.position(q_measured))
        yaw = self._yaw + min(max(dyaw, -1.0), 1.0) * self._step_rad
        yaw = min(max(yaw, self._home_yaw - YAW_RANGE_RAD), self._home_yaw + YAW_RANGE_RAD)
        self._kinematics.hold(self._q)
        found = self._kinematics.solve(tool_down(position, yaw), self._q)
        if found.ok:
            self._q, self._position, self._yaw = found.q, position, yaw
        else:
            self.ik_failures += 1
        return self._target(self._q, grip)

    def _within_lead(self, move: Vec3, measured: Vec3) -> Vec3:
        """The moved target position, inside the workspace and within `MAX_LEAD_M` of the measured TCP."""
        wanted = [p + min(max(m, -1.0), 1.0) * self._step_m for p, m in zip(self._position, move, strict=True)]
        distance = math.dist(wanted, measured)
        if distance > MAX_LEAD_M:
            wanted = [m + (w - m) * MAX_LEAD_M / distance for w, m in zip(wanted, measured, strict=True)]
        x, y, z = (min(max(w, low), high) for w, low, high in zip(wanted, self._low, self._high, strict=True))
        return x, y, z

    def _target(self, q: tuple[float, ...], grip: float) -> JointTarget:
        opening = (min(max(grip, -1.0), 1.0) + 1.0) / 2.0
        return JointTarget(q_rad=q, gripper_width_m=opening * self._gripper.max_width_m, gripper_force_n=self._force_n)

    def executed(self, requested: Vector, accepted_q: Sequence[float], interventions: int) -> Vector:
        """The action executed since the last `command`, in [-1, 1], shape (5,).

        Without interventions that is `requested`. Otherwise it is the action that would have led to the target that
        the limiter accepted; the TCP target continues from there.
        """
        if not interventions:
            return requested
        (x, y, z), yaw = self._before
        self._rebase(tuple(map(float, accepted_q)))
        moved = [(b - a) / self._step_m for a, b in zip((x, y, z), self._position, strict=True)]
        turned = math.remainder(self._yaw - yaw, math.tau) / self._step_rad
        grip = float(requested[4]) if math.isfinite(requested[4]) else 0.0
        return np.clip(np.array([*moved, turned, grip], np.float32), -1.0, 1.0)


def with_margin(model: RobotModel) -> RobotModel:
    """The robot with the joint range that targets keep to: narrower by `JOINT_MARGIN_RAD` at either end."""
    lower, upper = model.limits.position_lower_rad, model.limits.position_upper_rad
    margins = [min(JOINT_MARGIN_RAD, MARGIN_SHARE * (high - low)) for low, high in zip(lower, upper, strict=True)]
    limits = msgspec.structs.replace(
        model.limits,
        position_lower_rad=tuple(q + margin for q, margin in zip(lower, margins, strict=True)),
        position_upper_rad=tuple(q - margin for q, margin in zip(upper, margins, strict=True)),
    )
    return msgspec.structs.replace(model, limits=limits)
