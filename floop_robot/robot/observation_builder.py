"""ObservationBuilder: makes a task's observation vector from a robot state; environments and robots both use it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from floop_robot.robot.grip_estimator import GripEstimator
from floop_robot.robot.kinematics import Kinematics
from floop_robot.robot.messages import RobotState, Vec3
from floop_robot.spec.calibration import NO_OFFSET, Offset, corrected
from floop_robot.spec.layout import Vector
from floop_robot.spec.robot_model import Gripper
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.task import TaskSpec

_STEP_S = 1e-4
"""Time step of the finite difference that gives the TCP velocity: short against any motion, long against rounding."""
_CLASS_INDEX = {name: i for i, name in enumerate(OBJECT_CLASSES)}


class ObservationBuilder:
    """Builds observations of one task on one arm. Each thread needs its own, because `Kinematics` has buffers.

    It knows names and sizes of fields. Their positions in the vector come from the task's layout.
    """

    def __init__(self, spec: TaskSpec, kinematics: Kinematics, gripper: Gripper) -> None:
        self._kinematics, self.grip = kinematics, GripEstimator(gripper)
        self._layout = spec.observation
        self._start = {name: part.start for name, part in self._layout.slices.items()}
        self._low, self._high = self._layout.low, self._layout.high
        self.has_tote = "tote_from_object" in self._start
        """The task has a tote."""

    def start(self) -> None:
        """Another episode begins."""
        self.grip.reset()

    def observe(
        self,
        state: RobotState,
        target_m: Vec3,
        previous_action: Sequence[float] | Vector,
        context: Sequence[float] = (),
        correction_m: Offset = NO_OFFSET,
    ) -> Vector:
        """Raw observation (SI units, base frame), shape (spec.observation.size,), float32, clipped to its range.

        `target_m` is the TCP position that the previous step commanded, base frame. `previous_action` is what that step
        executed, in [-1, 1]. Fields of the object are zero while none is perceived; `correction_m` is subtracted from
        its perceived position. An effort of the gripper that is unknown (NaN) is estimated: call it once per step.
        """
        tcp, yaw = self._kinematics.position_and_yaw(state.q_rad)
        x, y, z = tcp
        ahead = self._kinematics.position([q + _STEP_S * dq for q, dq in zip(state.q_rad, state.dq_rad_s, strict=True)])
        values = [0.0] * self._layout.size
        self._put(values, "tcp_x", (x,))
        self._put(values, "tcp_y", (y,))
        self._put(values, "tcp_z", (z,))
        self._put(values, "tcp_velocity", [(b - a) / _STEP_S for a, b in zip(tcp, ahead, strict=True)])
        self._put(values, "gripper_width", (state.gripper_width_m,))
        effort = state.gripper_effort_n
        if math.isnan(effort):
            effort = self.grip.force_n(state.gripper_width_m, previous_action, state.object)
        self._put(values, "gripper_effort", (effort,))
        self._put(values, "tracking_error", [b - a for a, b in zip(tcp, target_m, strict=True)])
        self._put(values, "previous_action", [float(a) for a in previous_action])
        self._put(values, "context", context)
        self._put_object(values, state, tcp, yaw, correction_m)
        out = np.array(values, np.float32)
        return np.minimum(np.maximum(out, self._low, out=out), self._high, out=out)

    def _put_object(
        self, values: list[float], state: RobotState, tcp: Sequence[float], gripper_yaw: float, correction_m: Offset
    ) -> None:
        seen = state.object
        if seen is None:
            return
        position = corrected(seen.position_m, correction_m)
        double_angle = 2.0 * (seen.yaw_rad - gripper_yaw)
        self._put(values, "object_from_tcp", [b - a for a, b in zip(tcp, position, strict=True)])
        self._put(values, "yaw_difference", (math.sin(double_angle), math.cos(double_angle)))
        self._put(values, "object_height", (position[2],))
        self._put(values, "object_size", seen.size_m)
        index = _CLASS_INDEX.get(seen.object_class)
        if index is not None:  # a class outside the contract is all zeros
            values[self._start["object_class"] + index] = 1.0
        if self.has_tote and state.tote_m is not None:
            self._put(values, "tote_from_object", [b - a for a, b in zip(position, state.tote_m, strict=True)])
            quarter_turns = 4.0 * seen.yaw_rad  # totes stand along the axes of the base
            self._put(values, "yaw_in_tote", (math.sin(quarter_turns), math.cos(quarter_turns)))

    def _put(self, values: list[float], name: str, part: Sequence[float]) -> None:
        start = self._start[name]
        values[start : start + len(part)] = part
