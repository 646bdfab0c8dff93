"""A whole robot in one thread and in simulated time: PyBullet world, safety loop, policy loop, and ports between."""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, TypeVar

import msgspec

from floop_envs.world import SERVO_RATE_HZ, World
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.following_error import FollowingErrorSettings
from floop_robot.robot.messages import JointCommand, Phase, RobotState
from floop_robot.robot.policy_buffer import PolicyActor, PolicyBuffer
from floop_robot.robot.policy_loop import PolicyLink, PolicyLoop, PolicySettings
from floop_robot.robot.safety_loop import SafetyCore, SafetyLink, SafetyLoop
from floop_robot.spec.records import ActMode, EpisodeEnd, Event, GroundTruth, Record, Transition
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.task import TaskRules

T = TypeVar("T")
TICKS_PER_STEP = 4


class Queue(Generic[T]):
    """Latest-wins for `size=1`, as the links of a robot are."""

    def __init__(self, size: int | None = 1) -> None:
        self.items: deque[T] = deque(maxlen=size)

    def send(self, message: T, /) -> None:
        self.items.append(message)

    def receive(self) -> T | None:
        return self.items.popleft() if self.items else None


class Sink:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def put(self, record: Record) -> bool:
        self.records.append(record)
        return True

    def of(self, kind: type[T]) -> list[T]:
        return [r for r in self.records if isinstance(r, kind)]

    @property
    def transitions(self) -> list[Transition]:
        return self.of(Transition)

    @property
    def ends(self) -> list[EpisodeEnd]:
        return self.of(EpisodeEnd)

    @property
    def events(self) -> list[Event]:
        return self.of(Event)


class Rig:
    """`run(ticks)` lets servo time pass; break things in between."""

    def __init__(
        self, model: RobotModel, rules: TaskRules, scenarios: list[Scenario], actor: PolicyActor | None, **settings: Any
    ) -> None:
        self.scenarios, self.world = scenarios, World(model)
        self.now_s, self.ticks, self.served, self.episode = 100.0, 0, 0, 0
        self.driver_is_alive = self.policy_is_alive = self.safety_is_alive = True
        self.freezes_between = False
        """The world stands still between episodes, as the environment's does."""
        self.phase = Phase.RESETTING
        self.command: JointCommand | None = None
        states, policy_states = Queue[RobotState](), Queue[RobotState]()
        self._states = (states, policy_states)
        self.targets = Queue[Any]()
        self._commands, self._requests = Queue[JointCommand](), Queue[Any]()
        self.reports = Queue[Any]()
        core = SafetyCore(model, SERVO_RATE_HZ, rules.spec.policy_rate_hz, 0.1, None, FollowingErrorSettings())
        self.safety = SafetyLoop(core, SafetyLink(states, self.targets, self._commands, self.reports))
        self.estop = self.safety.estop
        self.policy_buffer = PolicyBuffer()
        if actor is not None:
            self.policy_buffer.offer(1, actor)
        self.sink = Sink()
        link = PolicyLink(policy_states, self.reports, self.targets, self._requests)
        self.policy = PolicyLoop(
            model,
            rules,
            self.policy_buffer,
            link,
            self.sink,
            PolicySettings(first_episode=1, **settings),
            clock=lambda: self.now_s,
        )
        self.commands: list[JointCommand] = []
        self._stamp = 0

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            if self.driver_is_alive:
                self._serve()
                for port in self._states:
                    port.send(self.state())
            if self.policy_is_alive and self.ticks % TICKS_PER_STEP == 0:
                self.policy.tick(self.now_s)
            if self.safety_is_alive:
                self.safety.tick(self.now_s)
            if self.driver_is_alive and (command := self._commands.receive()) is not None:
                self.commands.append(command)
                self.command = command
            is_frozen = self.freezes_between and self.policy.stats().state is not EpisodeState.RUNNING
            if self.driver_is_alive and self.command is not None and not is_frozen:
                c = self.command
                self.world.servo_tick(c.q_rad, c.dq_rad_s, c.gripper_width_m, c.gripper_force_n)
            self.ticks += 1
            self.now_s += 1.0 / SERVO_RATE_HZ

    def state(self) -> RobotState:
        if self.phase is Phase.RESETTING:
            size = len(self.world.robot.home_rad)
            state = RobotState(
                tick=0, stamp_ns=0, mono_s=0.0, q_rad=(0.0,) * size, dq_rad_s=(0.0,) * size,
                gripper_width_m=0.0, gripper_effort_n=0.0,
            )  # fmt: skip
        else:
            state = self.world.state()
        self._stamp += 1
        return msgspec.structs.replace(
            state, tick=self._stamp, mono_s=self.now_s, episode=self.episode, phase=self.phase,
            truth=GroundTruth(success=False, scenario=str(self.served)),
        )  # fmt: skip

    def _serve(self) -> None:
        request = self._requests.receive()
        if request is not None and request.episode != self.episode:
            self.world.reset(self.scenarios[self.served % len(self.scenarios)])
            self.served += 1
            self.episode, self.phase, self.command = request.episode, Phase.READY, None


SAMPLE = ActMode.SAMPLE
