"""The simulated driver: its clock, its episodes, and the commands that it follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from floop_envs.world import SERVO_RATE_HZ, World
from floop_robot.robot.messages import JointCommand, Phase, ResetRequest, RobotState
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.sim.sim_driver import MAX_CATCH_UP_PERIODS, RESET_S, DriverLink, SimDriver
from floop_robot.sim.sim_world import RobotScenarios, SimWorld, set_world
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.robot_model import RobotModel, load_robot
from tests.support.control_loop_rig import Queue

PERIOD_S = 1.0 / SERVO_RATE_HZ
TASK = "floop/Pick-v0"


class Bench:
    """A simulated driver in virtual time."""

    def __init__(self, folder: Path, robot: str = "robot_1") -> None:
        self.model: RobotModel = load_robot("panda")
        self.states, self.commands, self.requests = Queue[RobotState](), Queue[JointCommand](), Queue[ResetRequest]()
        self.world = World(self.model)
        link = DriverLink(self.states, self.commands, self.requests)
        self.driver = SimDriver(link, self.world, RobotScenarios(TASK, robot, 0, 0), folder, SERVO_RATE_HZ)
        self.now_s = 0.0

    def tick(self, count: int = 1) -> RobotState:
        """Let so many servo periods pass; the last state."""
        for _ in range(count):
            self.driver.tick(self.now_s)
            self.now_s += PERIOD_S
        state = self.states.receive()
        assert state is not None
        return state

    def reset(self, episode: int) -> RobotState:
        """Ask for an episode; the state one tick later."""
        self.requests.send(ResetRequest(episode=episode))
        return self.tick()

    def command(self, turn_rad: float) -> None:
        """Turn the first joint; made now."""
        q = (self.model.home_rad[0] + turn_rad, *self.model.home_rad[1:])
        still = (0.0,) * len(q)
        self.commands.send(
            JointCommand(tick=0, mono_s=self.now_s, q_rad=q, dq_rad_s=still, gripper_width_m=0.08, gripper_force_n=20.0)
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.world.close()


def test_a_servo_rate_that_would_run_its_world_too_fast_is_refused(tmp_path: Path) -> None:
    """Each command moves the world by 20 ms: at 100 Hz it would run at twice real time, and report that it keeps it."""
    nothing = cast(Any, None)
    scenarios = RobotScenarios(TASK, "robot_1", 0, 0)
    link = DriverLink(nothing, nothing, nothing)
    with pytest.raises(ConfigError, match="servo_rate_hz is 100, but simulated arms take commands at 50 Hz"):
        SimDriver(link, nothing, scenarios, tmp_path, 100.0)


def test_an_episode_is_ready_after_its_reset(bench: Bench) -> None:
    state = bench.tick()
    assert (state.episode, state.phase) == (0, Phase.RESETTING), "no episode before the first request"
    state = bench.reset(3)
    assert (state.episode, state.phase) == (3, Phase.RESETTING)
    state = bench.tick(round(RESET_S / PERIOD_S) + 1)
    assert (state.episode, state.phase) == (3, Phase.READY)
    assert state.q_rad == pytest.approx(bench.model.home_rad, abs=0.02)
    assert state.object is not None and state.truth is not None
    bench.requests.send(ResetRequest(episode=3))
    assert bench.tick().phase is Phase.READY, "a repeated request changes nothing"
    assert bench.driver.episodes == 2


def test_the_arm_follows_commands_of_this_episode_only(bench: Bench) -> None:
    bench.command(0.3)  # from before the reset
    bench.reset(1)
    home = bench.tick(round(RESET_S / PERIOD_S) + 10).q_rad[0]
    assert home == pytest.approx(bench.model.home_rad[0], abs=0.02)
    for _ in range(40):
        bench.command(0.1)
        turned = bench.tick().q_rad[0]
    assert turned == pytest.approx(bench.model.home_rad[0] + 0.1, abs=0.02)
    held = bench.tick(50).q_rad[0]
    assert held == pytest.approx(turned, abs=0.02), "without commands the arm holds its position"


def test_a_tick_that_comes_late_catches_up_and_loses_what_is_too_much(bench: Bench) -> None:
    bench.tick()
    bench.now_s += 2 * PERIOD_S
    bench.tick()
    assert bench.driver.simulated_s == pytest.approx(bench.driver.elapsed_s)
    bench.now_s += 1.0
    before = bench.driver.periods
    bench.tick()
    assert bench.driver.periods - before == MAX_CATCH_UP_PERIODS
    stats = bench.driver.stats(RateLoop(SERVO_RATE_HZ, lambda _: None, "idle").stats())
    assert stats.simulated_s < stats.elapsed_s - 0.8, "the real-time factor shows the loss"


def test_the_driver_reports_the_first_episode_of_a_shifted_world(bench: Bench, tmp_path: Path) -> None:
    bench.reset(7)
    assert bench.driver.first_shifted == 0
    set_world(tmp_path, SimWorld("new-object"))
    bench.reset(7)
    assert bench.driver.first_shifted == 0, "laid out before, however long it goes on"
    bench.reset(8)
    assert bench.driver.first_shifted == 8
    bench.reset(9)
    assert bench.driver.first_shifted == 8


def test_a_driver_that_starts_in_a_shifted_world_waits_for_its_first_episode(tmp_path: Path) -> None:
    set_world(tmp_path, SimWorld("new-object"))
    bench = Bench(tmp_path)
    try:
        bench.tick()
        assert bench.driver.first_shifted == 0
        bench.reset(12)
        assert bench.driver.first_shifted == 12
    finally:
        bench.world.close()
