"""SimDriver: a PyBullet arm in real time that sends and takes the messages of a real arm and its perception.

Physics follows the steady clock: each tick simulates as many servo periods as have passed. Only this process knows its
world (shift, hidden parameters).
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from floop_envs.world import SERVO_RATE_HZ, World
from floop_robot.robot.messages import JointCommand, Phase, ResetRequest, RobotState
from floop_robot.robot.rate_loop import RateStats
from floop_robot.robot.safety_loop import MessagePublisher, MessageSubscriber
from floop_robot.sim.sim_world import RobotScenarios, get_world
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.records import GroundTruth

RESET_S = 0.6
"""Time that a simulated reset takes: the next object is laid out and the arm goes home."""
COMMAND_TIMEOUT_S = 0.1
"""Without commands for this long the arm holds its last position, as a vendor's controller would."""
MAX_CATCH_UP_PERIODS = 5
"""Servo periods simulated in one tick at most; beyond that real time is lost, and the real-time factor shows it."""


class DriverStats(msgspec.Struct, frozen=True):
    """Counts of a simulated driver since it started."""

    rate: RateStats
    simulated_s: float
    elapsed_s: float
    """Steady-clock time since the first tick; `simulated_s / elapsed_s` is the real-time factor."""
    episodes: int
    first_shifted: int = 0
    """Number of the first episode that was laid out in a shifted world; 0 before it."""


class DriverLink(msgspec.Struct, frozen=True):
    """A simulated driver's ends of its robot's links: sockets or ROS topics."""

    states: MessagePublisher[RobotState]
    commands: MessageSubscriber[JointCommand]
    requests: MessageSubscriber[ResetRequest]


class SimDriver:
    """A simulated arm, its world and its episodes; a `RateLoop` calls `tick` at servo rate."""

    def __init__(
        self, link: DriverLink, world: World, scenarios: RobotScenarios, run_dir: Path, servo_rate_hz: float
    ) -> None:
        """Raises `ConfigError` for a rate other than `SERVO_RATE_HZ`."""
        if servo_rate_hz != SERVO_RATE_HZ:
            raise ConfigError(
                f"robot.servo_rate_hz is {servo_rate_hz:g}, but simulated arms take commands at {SERVO_RATE_HZ:g} Hz; "
                "leave it out where arms are simulated"
            )
        self._world, self._scenarios, self._run_dir = world, scenarios, run_dir
        self._period_s = 1.0 / servo_rate_hz
        self._states, self._commands, self._requests = link.states, link.commands, link.requests
        self._command: JointCommand | None = None
        self._episode = 0
        self._scenario = ""
        self._ready_s = 0.0
        self._start_s = -1.0
        self._now_s = 0.0
        self.periods = self.episodes = self.first_shifted = self._lost_periods = 0

    @property
    def simulated_s(self) -> float:
        """Simulated time since the first tick."""
        return self.periods * self._period_s

    @property
    def elapsed_s(self) -> float:
        """Steady-clock time since the first tick."""
        return max(0.0, self._now_s - self._start_s) if self._start_s >= 0 else 0.0

    def tick(self, now_s: float) -> None:
        """Bring the world up to `now_s` and publish its state."""
        if self._start_s < 0:
            self._start_s = now_s
            self._start_episode(0, now_s)
        self._now_s = now_s
        request = self._requests.receive()
        if request is not None and request.episode != self._episode:
            self._start_episode(request.episode, now_s)
        command = self._commands.receive()
        if command is not None and command.mono_s >= self._ready_s:  # older ones are of the previous episode
            self._command = command
        passed = round((now_s - self._start_s) / self._period_s)
        owed = passed - self.periods - self._lost_periods
        self._lost_periods += max(0, owed - MAX_CATCH_UP_PERIODS)
        for _ in range(min(owed, MAX_CATCH_UP_PERIODS)):
            self._move(now_s)
        self._publish(now_s)

    def stats(self, rate: RateStats) -> DriverStats:
        """Counts so far; `rate` is of the loop that calls `tick`."""
        return DriverStats(rate, self.simulated_s, self.elapsed_s, self.episodes, self.first_shifted)

    def _start_episode(self, episode: int, now_s: float) -> None:
        world = get_world(self._run_dir)
        scenario = self._scenarios.scenario(world, episode)
        if world.shift_of(self._scenarios.robot) and episode and not self.first_shifted:
            self.first_shifted = episode
        self._world.reset(scenario)
        self._scenario = msgspec.json.encode(scenario).decode()
        self._episode, self._command, self._ready_s = episode, None, now_s + RESET_S
        self.episodes += 1

    def _move(self, now_s: float) -> None:
        self.periods += 1
        if self._phase(now_s) is Phase.RESETTING:
            return  # nothing moves before the arm may: an episode begins as it does in `ArmEnv`
        command = self._command
        if command is not None:
            is_recent = now_s - command.mono_s <= COMMAND_TIMEOUT_S
            speed = command.dq_rad_s if is_recent else (0.0,) * len(command.q_rad)
            self._world.servo_tick(command.q_rad, speed, command.gripper_width_m, command.gripper_force_n)
        else:
            self._world.step(self._world.steps_per_tick)

    def _phase(self, now_s: float) -> Phase:
        return Phase.READY if now_s >= self._ready_s and self._episode else Phase.RESETTING

    def _publish(self, now_s: float) -> None:
        state: RobotState = msgspec.structs.replace(
            self._world.state(),
            tick=self.periods,
            stamp_ns=time.time_ns(),
            mono_s=time.monotonic(),
            episode=self._episode,
            phase=self._phase(now_s),
            truth=GroundTruth(self._world.true_success(), self._scenario),
        )
        self._states.send(state)
