"""SafetyLoop: the only way to the driver. States, targets and orders in; limited joint commands and a report out.

It runs in its own process at servo rate and needs nobody: with a policy that is stopped, spinning or dead, the arm
comes to a stand and stays there.
"""

from __future__ import annotations

import math
from typing import Final, Protocol, TypeVar

from floop_robot.robot.controller import GRIP_FORCE_N
from floop_robot.robot.estop_latch import EstopLatch, EstopLatchWriter
from floop_robot.robot.limiter import LimitedCommand, SafetyLimiter, ticks_of
from floop_robot.robot.messages import (
    Cause,
    EstopCommand,
    Interventions,
    JointCommand,
    JointTarget,
    Phase,
    RobotState,
    SafetyMode,
    SafetyState,
)
from floop_robot.robot.watchdog import Reaction, WatchdogSettings, react
from floop_robot.spec.robot_model import RobotModel

HOLDING_EFFORT_N: Final = 3.0
"""Fingers that press at least this hard hold something: they go on pressing until a target says otherwise."""
SAME_GRIP_M: Final = 0.002
"""Fingers that moved less while the arm was stopped still hold what they held."""
LET_GO_S: Final = 1.0
"""An arm that was stopped this long ago stands; from then on nothing is commanded until the release.

Somebody may move it by hand, or start its driver again: a command to where it stood would have it jump back there.
"""

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class MessageSubscriber(Protocol[T_co]):
    """Where the newest message of a kind can be had, without waiting."""

    def receive(self) -> T_co | None:
        """The newest message that arrived since the last call, or None."""
        ...


class MessagePublisher(Protocol[T_contra]):
    """Where messages go, without waiting."""

    def send(self, message: T_contra, /) -> None:
        """Send or drop."""
        ...


class SafetyCore:
    """Everything safety decides, as a pure function of messages and times (s, steady clock)."""

    def __init__(
        self,
        model: RobotModel,
        servo_rate_hz: float,
        policy_rate_hz: float,
        observation_timeout_s: float,
        latch: EstopLatch | None = None,
    ) -> None:
        self._model = model
        self._limiter = SafetyLimiter(model, servo_rate_hz, ticks_of(servo_rate_hz, policy_rate_hz))
        self._settings = WatchdogSettings.of(policy_rate_hz, observation_timeout_s)
        self.latch = latch or EstopLatch()
        self._state: RobotState | None = None
        self._target: JointTarget | None = None
        self._is_synced = False
        self._counts = Interventions()
        self._moving = False
        self._fault = ""
        self._ticks = 0
        self._target_seq = -1
        self._not_before_s = -math.inf
        """Targets made earlier are void: the arm was stopped since."""
        self._stopped_at_m = math.nan
        """Measured width of the gripper when the arm was stopped; NaN when it was not, or was not ours."""
        self._let_go_s = math.inf
        """When a stopped arm is left to its driver."""
        self._width_m, self._force_n = model.gripper.max_width_m, GRIP_FORCE_N

    def take_state(self, state: RobotState) -> None:
        """A robot state arrived. While the driver resets, it owns the arm; afterwards the command starts there.

        A stopped arm is not taken over: it is its driver that holds it, wherever somebody may have put it, until the
        release.
        """
        size = len(self._model.joint_names)
        if len(state.q_rad) != size or len(state.dq_rad_s) != size or not _finite(*state.q_rad, *state.dq_rad_s):
            self._fault = "robot state is not finite or has the wrong number of joints"
            return  # it does not count as a state, so the last good one grows stale
        previous, self._state = self._state, state
        if state.phase is Phase.RESETTING or previous is None or _is_other_world(previous, state):
            self._is_synced, self._target = False, None
        if not self._is_synced and state.phase is Phase.READY and not self.latch.is_set:
            self._limiter.reset(state.q_rad, state.dq_rad_s)
            self._is_synced, self._moving = True, any(state.dq_rad_s)
            self._take_gripper(state)

    def _take_gripper(self, state: RobotState) -> None:
        before, self._stopped_at_m = self._stopped_at_m, math.nan
        if abs(state.gripper_width_m - before) <= SAME_GRIP_M:
            return  # nobody touched it while the arm was stopped: it goes on gripping as it did
        if state.gripper_effort_n >= HOLDING_EFFORT_N:
            self._width_m = 0.0
        elif math.isfinite(state.gripper_width_m):
            self._width_m = min(max(state.gripper_width_m, 0.0), self._model.gripper.max_width_m)

    def take_target(self, target: JointTarget) -> None:
        """A target arrived; one of another episode than the driver's, or from before a stop, is ignored."""
        self._target_seq = target.seq
        if target.mono_s < self._not_before_s:
            return
        if self._state is not None and self._is_synced and target.episode == self._state.episode:
            self._target = target

    def take_order(self, order: EstopCommand) -> None:
        """A stop or a release arrived. After a release the arm waits for a target made after it.

        A release begins where the arm is: while it was stopped, somebody may have moved it by other means.
        """
        was_set = self.latch.is_set
        if not self.latch.take(order):
            return
        if order.stop:
            if not was_set and self._is_synced and self._state is not None:
                self._stopped_at_m = self._state.gripper_width_m
            return
        if was_set:
            self._is_synced = False
        self._fault, self._target, self._not_before_s = "", None, math.inf  # until the next tick tells the time

    def tick(self, now_s: float) -> tuple[JointCommand | None, SafetyState]:
        """One servo tick: what to command (None: leave the driver alone), and the report."""
        self._ticks += 1
        self._not_before_s = min(self._not_before_s, now_s)
        state, target = self._state, self._target
        reaction = react(
            self._settings,
            self.latch.is_set,
            now_s - state.mono_s if state is not None else None,
            now_s - target.mono_s if target is not None else None,
        )
        self._let_go_s = min(self._let_go_s, now_s + LET_GO_S) if self.latch.is_set else math.inf
        if now_s >= self._let_go_s:
            self._is_synced = False
        if not self._is_synced:
            if not self.latch.is_set:
                reaction = Reaction(SafetyMode.WAITING)
            return None, self._report(now_s, reaction.mode, Cause.NONE)
        if reaction.cause is Cause.STALE_STATE:
            self._target, self._not_before_s = None, now_s  # the arm waits for states, and a target made from them
        limited = self._limited(reaction)
        # Braking counts while it changes something; what stands anyway is not changed by being stopped.
        cause = limited.cause if self._moving or limited.cause is Cause.NONFINITE else _lasting(limited.cause)
        self._counts = self._counts.plus(cause)
        self._moving = not limited.stands
        mode = reaction.mode
        if cause is Cause.NONFINITE:
            mode, self._fault = SafetyMode.HOLDING, "target is not finite or has the wrong number of joints"
        return self._command(now_s, limited), self._report(now_s, mode, cause)

    def _limited(self, reaction: Reaction) -> LimitedCommand:
        if reaction.cause is Cause.ESTOP:
            return self._limiter.freeze(Cause.ESTOP)
        if reaction.cause is not Cause.NONE or self._target is None:
            return self._limiter.stop(reaction.cause)
        target = self._target
        if not _finite(target.gripper_width_m, target.gripper_force_n):
            return self._limiter.stop(Cause.NONFINITE)
        limited = self._limiter.step(target.q_rad)
        if limited.cause is not Cause.NONFINITE:
            gripper = self._model.gripper
            self._width_m = min(max(target.gripper_width_m, 0.0), gripper.max_width_m)
            self._force_n = min(max(target.gripper_force_n, 0.0), gripper.max_force_n)
        return limited

    def _command(self, now_s: float, limited: LimitedCommand) -> JointCommand:
        return JointCommand(
            tick=self._ticks,
            mono_s=now_s,
            q_rad=limited.q,
            dq_rad_s=limited.dq,
            gripper_width_m=self._width_m,
            gripper_force_n=self._force_n,
        )

    def _report(self, now_s: float, mode: SafetyMode, cause: Cause) -> SafetyState:
        return SafetyState(
            tick=self._ticks,
            mono_s=now_s,
            mode=mode,
            cause=cause,
            interventions=self._counts,
            q_rad=self._limiter.q,
            accepted_q_rad=self._limiter.accepted,
            target_seq=self._target_seq,
            target_episode=self._target.episode if self._target is not None else 0,
            estop=self.latch.is_set,
            fault=self.latch.reason or self._fault,
        )


class SafetyLoop:
    """Moves messages between ports and core; `tick` is what a `RateLoop` calls at servo rate."""

    def __init__(
        self,
        core: SafetyCore,
        states: MessageSubscriber[RobotState],
        targets: MessageSubscriber[JointTarget],
        orders: MessageSubscriber[EstopCommand],
        commands: MessagePublisher[JointCommand],
        reports: MessagePublisher[SafetyState],
    ) -> None:
        self.core = core
        self._states, self._targets, self._orders = states, targets, orders
        self._commands, self._reports = commands, reports
        self.last: SafetyState | None = None
        self.latch_writer = EstopLatchWriter(core.latch)

    def tick(self, now_s: float) -> None:
        """One servo tick."""
        while (order := self._orders.receive()) is not None:
            self.core.take_order(order)
        if (state := self._states.receive()) is not None:
            self.core.take_state(state)
        if (target := self._targets.receive()) is not None:
            self.core.take_target(target)
        command, self.last = self.core.tick(now_s)
        if command is not None:
            self._commands.send(command)
        self._reports.send(self.last)
        self.latch_writer.look()

    def close(self) -> None:
        """Take the stops that came after the last tick, and give the latch 1 s to be written down."""
        while (order := self._orders.receive()) is not None:
            if order.stop:
                self.core.take_order(order)
        self.latch_writer.close()


def _is_other_world(before: RobotState, after: RobotState) -> bool:
    """The driver was restarted, or has reset the arm so fast that its RESETTING was never seen."""
    return after.tick < before.tick or after.episode != before.episode


def _finite(*values: float) -> bool:
    return math.isfinite(sum(values))


def _lasting(cause: Cause) -> Cause:
    """Causes that replace the target, and so count even where the arm stands."""
    stopping = (Cause.STALE_STATE, Cause.LATE_TARGET, Cause.ESTOP)
    return Cause.NONE if cause in stopping else cause
