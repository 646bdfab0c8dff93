"""SimWorld: the world of the simulated robots, in one small file that only their drivers read.

It stands for reality: an experiment shifts it, and no other part of the loop reads it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenario_of, seed_of
from floop_envs.shifts import RealityGap, shifted_scenarios
from floop_robot.bundle import write_atomic
from floop_robot.durable.checked_json import seal, unseal
from floop_robot.spec.scenario import Scenario

_FILE = "sim_world.json"
_EPISODES_PER_ROBOT = 10_000
"""Seeds that each robot of a run has to itself."""


class SimWorld(msgspec.Struct, frozen=True):
    """The current shift; None for the known tasks."""

    shift: str | None = None
    robots: tuple[str, ...] = ()
    """Robots that it concerns; () for all."""

    def shift_of(self, robot: str) -> str | None:
        """The shift that this robot meets."""
        return self.shift if not self.robots or robot in self.robots else None

    def shifted_robots(self, robots: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the fleet's `robots` that meet the shift."""
        return tuple(robot for robot in robots if self.shift_of(robot))

    @property
    def name(self) -> str:
        """How people call the shift: "calibration on robot_3"."""
        return f"{self.shift} on {', '.join(self.robots)}" if self.robots else self.shift or ""


def set_world(run_dir: Path, world: SimWorld) -> None:
    """Change the world; it takes effect with the next episode of every driver."""
    write_atomic(run_dir / _FILE, seal(msgspec.json.encode(world)))


def get_world(run_dir: Path) -> SimWorld:
    """The current world; unshifted until somebody sets it."""
    path = run_dir / _FILE
    return msgspec.json.decode(unseal(path.read_bytes(), path), type=SimWorld) if path.exists() else SimWorld()


class RobotScenarios:
    """The scenarios of one simulated robot: the tasks of its world, with this robot's hidden parameters."""

    def __init__(self, task: str, robot: str, index: int, seed: int) -> None:
        self.robot, self._task, self._index, self._seed = robot, task, index, seed
        self._gap = RealityGap(robot, seed)

    def scenario(self, world: SimWorld, episode: int) -> Scenario:
        """The scenario of episode number `episode` in `world`; always the same for the same fleet seed."""
        shift = world.shift_of(self.robot)
        source = shifted_scenarios(shift, self._task) if shift else TrainingScenarios(self._task)
        number = self._index * _EPISODES_PER_ROBOT + episode % _EPISODES_PER_ROBOT
        scenario = scenario_of(source, seed_of(Purpose.ROBOT, self._seed, number))
        return _in_world_of(self.robot, self._gap, scenario)


def evaluation_scenarios(
    task: str, shift: str | None, robots: tuple[str, ...], seed: int, count: int, *, uncorrected: tuple[str, ...] = ()
) -> list[Scenario]:
    """`count` scenarios for final results, spread over the robots' worlds; without robots, in the gate's simulator.

    Those of `uncorrected` robots name no robot, so a policy's corrections do not act there. Such are known tasks of
    robots that the world shifts: their corrections are for the shifted world.
    """
    source = shifted_scenarios(shift, task) if shift else TrainingScenarios(task)
    gaps = [(robot, RealityGap(robot, seed)) for robot in robots]
    scenarios = [scenario_of(source, seed_of(Purpose.REPORT, seed, i)) for i in range(count)]
    if not gaps:
        return scenarios
    order = np.arange(count) % len(gaps)
    return [
        _in_world_of("" if robot in uncorrected else robot, gap, scenario)
        for (robot, gap), scenario in zip((gaps[g] for g in order), scenarios, strict=True)
    ]


def _in_world_of(robot: str, gap: RealityGap, scenario: Scenario) -> Scenario:
    return msgspec.structs.replace(gap.apply(scenario), robot=robot)
