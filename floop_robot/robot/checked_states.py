"""CheckedStates: the robot states of a link that carries whole ones, without those that can't be true."""

from __future__ import annotations

import msgspec

from floop_robot.robot.messages import RobotState
from floop_robot.robot.safety_loop import MessageSubscriber
from floop_robot.robot.state_check import ArmReading, GripperReading, StateCheck, StateTicks
from floop_robot.spec.robot_model import RobotModel


class CheckedStates:
    """Gives the newest state that is believed; what was left out is counted in `faults`."""

    def __init__(self, source: MessageSubscriber[RobotState], model: RobotModel, silence_s: float) -> None:
        """After `silence_s` (s) without a believed state, those that come count as another driver's."""
        self._source, self._check, self._ticks = source, StateCheck(model), StateTicks(silence_s)
        self.faults = self._check.faults

    def receive(self) -> RobotState | None:
        """The newest state since the last call, or None."""
        state = self._source.receive()
        if state is None:
            return None
        now_s = state.mono_s
        arm = self._check.take(
            ArmReading(state.q_rad, state.dq_rad_s, state.stamp_ns, now_s, state.effort_nm), state.phase
        )
        gripper = self._check.gripper(GripperReading(state.gripper_width_m, state.gripper_effort_n, now_s))
        if arm is None or gripper is None:
            return None
        return msgspec.structs.replace(
            state,
            tick=self._ticks.next(now_s),
            dq_rad_s=arm.dq_rad_s,
            gripper_width_m=gripper.width_m,
            gripper_effort_n=gripper.effort_n,
        )
