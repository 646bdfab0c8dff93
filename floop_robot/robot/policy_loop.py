"""PolicyLoop: observes, acts, commands and records, once per policy period, in the order of `ArmEnv.step`.

The record of a step is complete one period later, when its effect has been observed. Until then it is the open step.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from floop_robot.core import RecordSink
from floop_robot.robot.controller import ArmController
from floop_robot.robot.episode_state_machine import EpisodeConditions, EpisodeState, EpisodeStateMachine, StepDecision
from floop_robot.robot.kinematics import Kinematics
from floop_robot.robot.loop_interface import EpisodeReport, LoopInterface, LoopView
from floop_robot.robot.messages import JointTarget, Phase, ResetRequest, RobotState, SafetyMode, SafetyState
from floop_robot.robot.observation_builder import ObservationBuilder
from floop_robot.robot.policy_buffer import Policy, PolicyBuffer
from floop_robot.robot.rate_loop import Histogram, Timing
from floop_robot.robot.safety_loop import MessagePublisher, MessageSubscriber
from floop_robot.robot.state_faults import StateFaults
from floop_robot.spec.calibration import NO_OFFSET, Offset
from floop_robot.spec.layout import Vector
from floop_robot.spec.records import ActMode, EpisodeEnd, Event, ObjectReport, OutcomeCode, Record, Transition
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.task import TaskRules
from floop_robot.spec.wall_clock import WallClock

JUDGES_BY_WIDTH: Final = (
    "the gripper reports no effort: grasps are judged by its width against the object and by the perceived lift"
)
ERROR_EVENT_S: Final = 10.0
"""Unusable robot states are recorded as an event this often at most."""


class PolicyLink(msgspec.Struct, frozen=True):
    """A policy process's ends of its robot's links: sockets or ROS topics."""

    states: MessageSubscriber[RobotState]
    reports: MessageSubscriber[SafetyState]
    targets: MessagePublisher[JointTarget]
    requests: MessagePublisher[ResetRequest]
    state_faults: StateFaults = msgspec.field(default_factory=StateFaults)
    """What `states` left out."""
    reports_effort: bool = True
    """The gripper's force is measured."""


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a robot acts."""

    first_episode: int
    """Number of the first episode; above every number this robot used before (wall-clock ms are)."""
    observation_timeout_s: float = 0.1
    act_mode: ActMode = ActMode.MEAN
    seed: int = 0
    context: tuple[float, ...] = ()
    """Values of the observation's `context` field, which tell this robot from others."""


class PolicyStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the loop."""

    state: EpisodeState
    episode: int
    episodes: int
    successes: int
    aborted: int
    transitions: int
    records_dropped: int
    ik_failures: int
    """Commands that repeated the last target because inverse kinematics found no joints for the pose."""
    version: int
    latency: Timing
    """From the stamp of a robot state to the target made from it."""
    states_refused: int = 0
    """Robot states with numbers that gripper or perception can't mean; none was acted on or recorded."""
    judges_by_width: bool = False
    """The gripper reports no effort: grasps are judged by its width against the object and by the perceived lift."""


class _OpenStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step whose effect has not been observed yet."""

    stamp_ns: int
    version: int
    observation: Vector
    requested: Vector
    log_prob: float
    interventions: int
    """Safety's total when the step began."""


class _Episode:
    """State and sums of one episode."""

    def __init__(self, now_s: float, rules: TaskRules, perceived: ObjectReport, observation: Vector) -> None:
        self.start_s, self.object = now_s, perceived
        self.progress = rules.start()
        self.observation = observation
        self.steps, self.reward, self.interventions = 0, 0.0, 0
        self.versions: Counter[int] = Counter()
        self.open: _OpenStep | None = None

    @property
    def version(self) -> int:
        """The version that acted in most of its steps; the newer of two."""
        return max(self.versions, key=lambda v: (self.versions[v], v), default=0)


class PolicyLoop:
    """The control loop of one robot; `tick` is what a `RateLoop` calls at policy rate.

    Other threads may set `accepts_episodes` (drain) and `must_end` (shut down), and use `interface`.
    """

    def __init__(
        self,
        model: RobotModel,
        rules: TaskRules,
        policy_buffer: PolicyBuffer,
        link: PolicyLink,
        records: RecordSink,
        settings: PolicySettings,
        interface: LoopInterface | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._rules, self._policy_buffer, self._settings = rules, policy_buffer, settings
        self._link, self._records = link, records
        self._clock, self._wall_clock_ns = clock, WallClock(wall_clock_ns)
        self._controller = ArmController(model, rules.spec)
        self._observation_builder = ObservationBuilder(rules.spec, Kinematics(model), model.gripper)
        self._judges_by_width = False
        self._machine = EpisodeStateMachine(settings.first_episode)
        self._rng = np.random.default_rng(settings.seed)
        self._joints = len(model.joint_names)
        self._robot: RobotState | None = None
        self._state_error, self._error_said_s = "", -math.inf
        self._safety: SafetyState | None = None
        self._episode: _Episode | None = None
        self._policy: Policy | None = None
        self._seq = 0
        self._latency = Histogram()
        self._ended: Counter[OutcomeCode] = Counter()
        self._transitions = self._dropped = self._states_refused = 0
        self.accepts_episodes, self.must_end = True, False
        self.interface = interface or LoopInterface()

    def stats(self) -> PolicyStats:
        """Counts so far; from any thread."""
        return PolicyStats(
            state=self._machine.state,
            episode=self._machine.number,
            episodes=self._ended.total(),
            successes=self._ended[OutcomeCode.SUCCESS],
            aborted=self._ended[OutcomeCode.ABORTED],
            transitions=self._transitions,
            records_dropped=self._dropped,
            ik_failures=self._controller.ik_failures,
            version=self._policy.version if self._policy else 0,
            latency=self._latency.timing(),
            judges_by_width=self._judges_by_width,
            states_refused=self._states_refused,
        )

    def tick(self, now_s: float) -> None:
        """One policy step at `now_s` (steady clock)."""
        self._take_state(now_s)
        self._safety = self._link.reports.receive() or self._safety
        self._take_policy()
        self._handle_end_request(now_s)
        conditions, running = self._conditions(now_s), self._machine.number
        decision = self._machine.advance(conditions)
        if decision is StepDecision.ABORT:
            self._end(now_s, OutcomeCode.ABORTED, conditions.faults(running)[0])
        elif decision in (StepDecision.START, StepDecision.STEP):
            self._step(now_s, decision)
        asks_reset = self._machine.state is EpisodeState.RESETTING and self.accepts_episodes and not self.must_end
        if asks_reset and self._may_reset(now_s):
            # Repeated until the driver reports this number: either process may be restarted at any time.
            self._link.requests.send(ResetRequest(episode=self._machine.number))
        self._publish_view(now_s, conditions)

    def _may_reset(self, now_s: float) -> bool:
        """Whether a reset may be requested: it moves the arm, so not while that must stand or safety is silent."""
        safety = self._safety
        if safety is None or safety.estop or safety.mode is SafetyMode.START_REQUIRED:
            return False
        return now_s - safety.mono_s <= self._settings.observation_timeout_s

    def _handle_end_request(self, now_s: float) -> None:
        """End the running episode if that was requested."""
        end_request = self.interface.take_end_request(self._machine.number)
        if end_request is not None and self._episode is not None:
            self._machine.finish()
            self._end(now_s, end_request.outcome, end_request.why)

    def _publish_view(self, now_s: float, conditions: EpisodeConditions) -> None:
        episode, robot, safety, machine = self._episode, self._robot, self._safety, self._machine
        runs = machine.state is EpisodeState.RUNNING
        self.interface.publish(
            LoopView(
                episode=machine.number,
                state=machine.state,
                missing=() if runs else (*conditions.faults(machine.number), *conditions.start_blockers()),
                steps=episode.steps if episode else 0,
                elapsed_s=now_s - episode.start_s if episode else 0.0,
                total_reward=episode.reward if episode else 0.0,
                interventions=episode.interventions if episode else 0,
                object=episode.object if episode else None,
                version=self._policy.version if self._policy else 0,
                q_rad=robot.q_rad if robot else (),
                target_q_rad=safety.accepted_q_rad if safety else (),
                speed_rad_s=max(map(abs, robot.dq_rad_s), default=0.0) if robot else 0.0,
                gripper_width_m=robot.gripper_width_m if robot else 0.0,
                robot_age_s=now_s - robot.mono_s if robot else math.inf,
                safety_age_s=now_s - safety.mono_s if safety else math.inf,
                estop=safety.estop if safety else False,
                start_required=conditions.start_required,
            )
        )

    def _step(self, now_s: float, decision: StepDecision) -> None:
        robot, safety, policy = self._robot, self._safety, self._policy
        if robot is None or safety is None or policy is None:
            return  # the state machine has checked all three before a start
        if decision is StepDecision.START:
            self._start(now_s, robot)
        else:
            self._close_step(now_s, robot, safety)
        if self._episode is not None:
            self._act(now_s, self._episode, robot, safety, policy)

    def _take_state(self, now_s: float) -> None:
        """Ignore unusable states, such as ones with NaN, so that the last good one grows stale."""
        state = self._link.states.receive()
        before, self._state_error = self._state_error, self._link.state_faults.current
        if state is not None:
            self._state_error = state.invalid_reason(self._joints)
            if self._state_error:
                self._states_refused += 1
            else:
                self._robot = state
        if self._state_error and not before and now_s - self._error_said_s > ERROR_EVENT_S:
            self._error_said_s = now_s
            self._event("robot_state_unusable", self._state_error)

    def _take_policy(self) -> None:
        correction_m = self._episode.object.correction_m if self._episode else None
        before, self._policy = self._policy, self._policy_buffer.take(correction_m)
        if self._policy is not before and self._policy is not None:
            self._event("policy_swapped", f"v{before.version if before else 0} to v{self._policy.version}")

    def _conditions(self, now_s: float) -> EpisodeConditions:
        robot, safety, timeout = self._robot, self._safety, self._settings.observation_timeout_s
        return EpisodeConditions(
            driver_episode=robot.episode if robot else 0,
            driver_phase=robot.phase if robot else Phase.RESETTING,
            is_recent=bool(robot and safety and now_s - min(robot.mono_s, safety.mono_s) <= timeout),
            state_fault=self._state_error,
            is_stopped=safety is None or safety.estop or safety.mode is SafetyMode.WAITING,
            start_required=safety is not None and safety.mode is SafetyMode.START_REQUIRED,
            has_object=bool(robot and robot.object),
            has_tote=not self._observation_builder.has_tote or bool(robot and robot.tote_m),
            has_policy=self._policy is not None,
            accepts_episodes=self.accepts_episodes,
            is_requested=self.interface.is_requested(robot.object.object_class if robot and robot.object else ""),
            must_end=self.must_end,
        )

    def _start(self, now_s: float, robot: RobotState) -> None:
        seen = robot.object
        assert seen is not None  # `has_object` was checked
        correction_m = self._policy.correction_m if self._policy else NO_OFFSET
        perceived = ObjectReport(seen.object_class, seen.size_m, seen.position_m, seen.yaw_rad, correction_m)
        self._controller.reset(robot.q_rad)
        self._observation_builder.start()
        nothing = np.zeros(self._rules.spec.action.size, np.float32)
        self._episode = _Episode(now_s, self._rules, perceived, self._observe(robot, nothing, correction_m))

    def _observe(self, robot: RobotState, executed: Vector, correction_m: Offset) -> Vector:
        target, context = self._controller.target[0], self._settings.context
        builder = self._observation_builder
        observation = builder.observe(robot, target, executed, context, correction_m)
        if not self._judges_by_width and (builder.grip.was_needed or not self._link.reports_effort):
            self._judges_by_width = True
            self._event("gripper_without_effort", JUDGES_BY_WIDTH)
        return observation

    def _close_step(self, now_s: float, robot: RobotState, safety: SafetyState) -> None:
        """Complete the open step with what is observed now, and record it."""
        episode = self._episode
        if episode is None or episode.open is None:
            return
        step = episode.open
        interventions = max(0, safety.interventions.total - step.interventions)
        executed = self._controller.executed(step.requested, safety.accepted_q_rad, interventions)
        observation = self._observe(robot, executed, episode.object.correction_m)
        judgement = self._rules.judge(episode.progress, step.observation, observation)
        episode.progress, episode.observation, episode.open = judgement.progress, observation, None
        episode.steps += 1
        episode.reward += judgement.reward
        episode.interventions += interventions
        truncated = not judgement.terminated and episode.steps >= self._rules.spec.max_steps
        self._put(
            Transition(
                seq=0,
                episode=self._machine.number,
                step=episode.steps - 1,
                stamp_ns=step.stamp_ns,
                policy_version=step.version,
                act_mode=self._settings.act_mode,
                obs=step.observation,
                action_requested=step.requested,
                action=executed,
                log_prob=step.log_prob,
                reward=judgement.reward,
                terminated=judgement.terminated,
                truncated=truncated,
                interventions=interventions,
            )
        )
        self._transitions += 1
        if judgement.terminated or truncated:
            self._machine.finish()
            self._end(now_s, OutcomeCode.SUCCESS if judgement.success else OutcomeCode.TIMEOUT)

    def _act(self, now_s: float, episode: _Episode, robot: RobotState, safety: SafetyState, policy: Policy) -> None:
        if self._settings.act_mode is ActMode.SAMPLE:
            action, log_prob = policy.actor.sample(episode.observation, self._rng)
        else:
            action, log_prob = policy.actor.mean(episode.observation), math.nan
        if not np.isfinite(action).all():
            self._fall_back(now_s, policy)
            return
        target = self._controller.command(action, robot.q_rad)
        self._seq += 1
        self._link.targets.send(
            msgspec.structs.replace(
                target, seq=self._seq, mono_s=now_s, episode=self._machine.number, policy_version=policy.version
            )
        )
        self._policy_buffer.acted(policy, now_s)
        self._latency.add(self._clock() - robot.mono_s)
        episode.versions[policy.version] += 1
        episode.open = _OpenStep(
            stamp_ns=self._wall_clock_ns(),
            version=policy.version,
            observation=episode.observation,
            requested=action,
            log_prob=log_prob,
            interventions=safety.interventions.total,
        )

    def _fall_back(self, now_s: float, policy: Policy) -> None:
        """Replace a policy that answers with NaN; the arm holds its last target and the episode is aborted."""
        self._event("action_not_finite", f"v{policy.version}")
        self._policy = self._policy_buffer.fall_back()
        self._machine.finish()
        self._end(now_s, OutcomeCode.ABORTED, f"v{policy.version} answered with NaN or infinity")

    def _end(self, now_s: float, outcome: OutcomeCode, why: str = "") -> None:
        """Record the end of an episode; the state machine is already at the next number.

        An open step is dropped, because its effect was not observed. `why` is empty when the task's rules ended it.
        """
        episode, self._episode = self._episode, None
        if episode is None:
            return
        self._ended[outcome] += 1
        number = self._machine.number - 1
        end = EpisodeEnd(
            seq=0,
            episode=number,
            stamp_ns=self._wall_clock_ns(),
            policy_version=episode.version,
            act_mode=self._settings.act_mode,
            steps=episode.steps,
            duration_s=now_s - episode.start_s,
            total_reward=episode.reward,
            outcome=outcome,
            final_obs=episode.observation,
            object=episode.object,
            truth=self._robot.truth if self._robot else None,
        )
        self._put(end)
        if why:
            self._event("episode_ended", f"{number} {outcome.name.lower()}: {why}")
        self.interface.report(EpisodeReport(end=end, interventions=episode.interventions, why=why))

    def _event(self, name: str, detail: str) -> None:
        self._put(Event(seq=0, stamp_ns=self._wall_clock_ns(), name=name, detail=detail))

    def _put(self, record: Record) -> None:
        if not self._records.put(record):
            self._dropped += 1
