"""SafetyLoop: the only path to the driver. Takes states, targets and e-stop commands; sends limited joint commands.

It runs in its own process at servo rate and needs no other: when the policy is stopped, hangs or dies, the arm comes to
rest and stays there.
"""

from __future__ import annotations

import math
import time
from typing import Final, Protocol, TypeVar

import msgspec

from floop_robot.durable.stop_file import StopFileWriter
from floop_robot.robot.controller import GRIP_FORCE_N
from floop_robot.robot.effort_watch import EffortWatch
from floop_robot.robot.estop_interface import EstopInterface
from floop_robot.robot.estop_latch import EstopLatch, Verdict
from floop_robot.robot.following_error import FollowingError, FollowingErrorSettings
from floop_robot.robot.grip_estimator import OPEN_SHARE
from floop_robot.robot.limiter import LimitedCommand, SafetyLimiter, ticks_of
from floop_robot.robot.messages import (
    Cause,
    EstopCommand,
    Interventions,
    JointCommand,
    JointTarget,
    Phase,
    ResetCommand,
    RobotState,
    SafetyMode,
    SafetyState,
    StartCommand,
    StopCommand,
)
from floop_robot.robot.state_faults import StateFaults
from floop_robot.robot.watchdog import Reaction, WatchdogSettings, react
from floop_robot.spec.robot_model import RobotModel

HOLDING_EFFORT_N: Final = 3.0
"""Fingers that press at least this hard hold something: they keep pressing until a target opens them."""
UNKNOWN_GRIP_M: Final = 0.005
"""Fingers of unknown effort are taken over this much closer than they are: if they hold something, they keep it."""
SAME_GRIP_M: Final = 0.002
"""Fingers that moved less than this while the arm was stopped still hold the same object."""
LET_GO_S: Final = 1.0
"""After an e-stop the arm is commanded to stand for this long, then nothing is commanded until the reset.

Somebody may move the arm by hand or restart its driver; a command to the old position would make it jump back.
"""

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class MessageSubscriber(Protocol[T_co]):
    """Gives the newest message of one kind without waiting."""

    def receive(self) -> T_co | None:
        """The newest message that arrived since the last call, or None."""
        ...


class MessagePublisher(Protocol[T_contra]):
    """Takes messages of one kind without waiting."""

    def send(self, message: T_contra, /) -> None:
        """Send the message, or drop it."""
        ...


class SafetyCore:
    """All decisions of the safety process, as a pure function of messages and times (s, steady clock)."""

    def __init__(
        self,
        model: RobotModel,
        servo_rate_hz: float,
        policy_rate_hz: float,
        observation_timeout_s: float,
        latch: EstopLatch | None = None,
        following_error: FollowingErrorSettings | None = None,
    ) -> None:
        """`following_error` None: nobody watches whether the arm follows, because its driver tells of its stops."""
        self._model = model
        self._limiter = SafetyLimiter(model, servo_rate_hz, ticks_of(servo_rate_hz, policy_rate_hz))
        self.efforts = EffortWatch(model)
        self._settings = WatchdogSettings.of(policy_rate_hz, observation_timeout_s)
        self.latch = latch or EstopLatch()
        self._following = FollowingError(model.joint_names, servo_rate_hz, following_error) if following_error else None
        self.state_faults = StateFaults()
        """What was wrong with robot states before they came here."""
        self._state: RobotState | None = None
        self._target: JointTarget | None = None
        self._is_synced = False
        self._counts = Interventions()
        self._moving = False
        self._fault = ""
        self._ticks = 0
        self._target_seq = -1
        self._not_before_s = -math.inf
        """Targets made earlier are ignored: the arm was stopped since."""
        self._stopped_at_m = math.nan
        """Measured width of the gripper when the arm was stopped; NaN when it was not stopped, or not commanded."""
        self._let_go_s = math.inf
        """When commands to a stopped arm end."""
        self._width_m, self._force_n = model.gripper.max_width_m, GRIP_FORCE_N

    def take_state(self, state: RobotState) -> None:
        """Take a robot state. While the driver resets it moves the arm; afterwards commands start from where it is.

        A stopped arm is not commanded: until the reset its driver holds it, wherever somebody may have moved it.
        """
        size = len(self._model.joint_names)
        if len(state.q_rad) != size or len(state.dq_rad_s) != size or not _finite(*state.q_rad, *state.dq_rad_s):
            self._fault = "robot state is not finite or has the wrong number of joints"
            return  # ignored, so the last good state grows stale
        if (why := self.efforts.excess(state)) and not self.latch.is_set:
            self.apply_command(StopCommand(who="safety", why=why), state.mono_s)
        previous, self._state = self._state, state
        if state.phase is Phase.RESETTING or previous is None or _is_restarted(previous, state):
            self._is_synced, self._target = False, None
        if not self._is_synced and state.phase is Phase.READY and not self.latch.blocks:
            self._limiter.reset(state.q_rad, state.dq_rad_s)
            self._is_synced, self._moving = True, any(state.dq_rad_s)
            self._take_gripper(state)

    def _take_gripper(self, state: RobotState) -> None:
        before, self._stopped_at_m = self._stopped_at_m, math.nan
        if abs(state.gripper_width_m - before) <= SAME_GRIP_M:
            return  # unchanged while the arm was stopped: keep the last gripper command
        if state.gripper_effort_n >= HOLDING_EFFORT_N:
            self._width_m = 0.0
        elif math.isfinite(state.gripper_width_m):
            top_m = self._model.gripper.max_width_m
            may_hold = math.isnan(state.gripper_effort_n) and state.gripper_width_m < OPEN_SHARE * top_m
            width_m = state.gripper_width_m - (UNKNOWN_GRIP_M if may_hold else 0.0)
            self._width_m = min(max(width_m, 0.0), top_m)

    def take_target(self, target: JointTarget) -> None:
        """Take a target; ignored if it is of another episode than the driver's, or older than a stop."""
        self._target_seq = target.seq
        if target.mono_s < self._not_before_s:
            return
        if self._state is not None and self._is_synced and target.episode == self._state.episode:
            self._target = target

    def apply_command(self, command: EstopCommand, now_s: float, held: str = "") -> Verdict:
        """Apply a stop, a reset or a start; `held` names a stop input that says stop at present.

        Once it may move, the arm waits for a target made after that. Commands then start from where the arm is:
        somebody may have moved it while it was stopped.
        """
        blocked, was_set = self.latch.blocks, self.latch.is_set
        match command:
            case StopCommand():
                if not was_set and self._is_synced and self._state is not None:
                    self._stopped_at_m = self._state.gripper_width_m
                self.latch.stop(command)
                return True, "stopped"
            case ResetCommand():
                verdict = self.latch.reset(command, now_s, held)
            case StartCommand():
                verdict = self.latch.start(command)
        if blocked and verdict[0]:
            self._is_synced = False
            self._fault, self._target, self._not_before_s = "", None, math.inf  # set to the time of the next tick
        return verdict

    def tick(self, now_s: float) -> tuple[JointCommand | None, SafetyState]:
        """One servo tick: the command (None: send none) and the state of safety."""
        self._ticks += 1
        self._not_before_s = min(self._not_before_s, now_s)
        self.latch.renew_nonce(now_s)
        state, target = self._state, self._target
        self._watch_following(now_s)
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
                reaction = Reaction(SafetyMode.START_REQUIRED if self.latch.blocks else SafetyMode.WAITING)
            return None, self._report(now_s, reaction.mode, Cause.NONE)
        if reaction.cause is Cause.STALE_STATE:
            self._target, self._not_before_s = None, now_s  # wait for states, and for a target made from them
        limited = self._limited(reaction)
        # Braking is an intervention only while the arm moves.
        cause = limited.cause if self._moving or limited.cause is Cause.NONFINITE else _unless_braking(limited.cause)
        self._counts = self._counts.plus(cause)
        self._moving = not limited.stands
        mode = reaction.mode
        if cause is Cause.NONFINITE:
            mode, self._fault = SafetyMode.HOLDING, "target is not finite or has the wrong number of joints"
        return self._command(now_s, limited), self._report(now_s, mode, cause)

    def _watch_following(self, now_s: float) -> None:
        """Stop an arm that does not go where it is commanded: its own e-stop may hold it, or something in its way."""
        state, watch = self._state, self._following
        if watch is None:
            return
        is_fresh = state is not None and now_s - state.mono_s <= self._settings.observation_timeout_s
        if state is None or not is_fresh or not self._is_synced or self.latch.is_set:
            watch.clear()
        elif why := watch.check(self._limiter.q, state.q_rad):
            self.apply_command(StopCommand(who="safety", why=why), now_s)

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
            fault=self.latch.reason or self.state_faults.current or self._fault,
        )


class SafetyLink(msgspec.Struct, frozen=True):
    """A safety process's ends of its robot's links: sockets or ROS topics."""

    states: MessageSubscriber[RobotState]
    targets: MessageSubscriber[JointTarget]
    commands: MessagePublisher[JointCommand]
    reports: MessagePublisher[SafetyState]
    state_faults: StateFaults = msgspec.field(default_factory=StateFaults)
    """What `states` left out."""


class SafetyLoop:
    """Moves messages between links and core; a `RateLoop` calls `tick` at servo rate."""

    def __init__(self, core: SafetyCore, link: SafetyLink, estop: EstopInterface | None = None) -> None:
        self.core, self._link = core, link
        self.estop = estop or EstopInterface(core.latch)
        core.state_faults = link.state_faults
        self.last: SafetyState | None = None
        self.latch_writer = StopFileWriter({"the e-stop latch": core.latch.file})
        self.latch_writer.start()

    def tick(self, now_s: float) -> None:
        """One servo tick."""
        self.estop.carry_out(lambda command: self.core.apply_command(command, now_s, self.estop.inputs.held()))
        if (state := self._link.states.receive()) is not None:
            self.core.take_state(state)
        if (target := self._link.targets.receive()) is not None:
            self.core.take_target(target)
        joint_command, self.last = self.core.tick(now_s)
        if joint_command is not None:
            self._link.commands.send(joint_command)
        self._link.reports.send(self.last)
        self.latch_writer.save_changes()

    def close(self) -> None:
        """Apply the stops that arrived after the last tick, and give the latch 1 s to be saved."""
        self.estop.carry_out(lambda command: self.core.apply_command(command, time.monotonic()), only_stops=True)
        self.latch_writer.close()


def _is_restarted(before: RobotState, after: RobotState) -> bool:
    """The driver was restarted, or reset the arm so fast that its RESETTING state was missed."""
    return after.tick < before.tick or after.episode != before.episode


def _finite(*values: float) -> bool:
    return math.isfinite(sum(values))


def _unless_braking(cause: Cause) -> Cause:
    """The cause, unless it only brakes: braking does not count where the arm stands."""
    stopping = (Cause.STALE_STATE, Cause.LATE_TARGET, Cause.ESTOP)
    return Cause.NONE if cause in stopping else cause
