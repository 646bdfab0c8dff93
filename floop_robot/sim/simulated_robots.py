"""SimulatedRobots: the fleet's robots in one process, for runs in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from floop_envs.env import make_env
from floop_envs.rollout import run_episode
from floop_robot.core import PolicyActor, RecordSink
from floop_robot.explore.episode_records import episode_records
from floop_robot.sim.sim_world import RobotScenarios, SimWorld
from floop_robot.spec.calibration import Calibration
from floop_robot.spec.records import ActMode


class SimulatedRobots:
    """Robots that run the deployed policy in turn, each in a world with hidden parameters of its own."""

    def __init__(
        self, task: str, model: str, sinks: Mapping[str, RecordSink], seed: int, clock_ns: Callable[[], int]
    ) -> None:
        """`sinks`: where each robot's records go, by the robot's name."""
        self._env = make_env(task, model)
        self._sinks = list(sinks.values())
        self._scenarios = [RobotScenarios(task, name, index, seed) for index, name in enumerate(sinks)]
        self._clock_ns = clock_ns
        self._episode = 0
        self._owed_rows = 0.0

    def run(
        self, actor: PolicyActor, version: int, world: SimWorld, rows: float, calibration: Calibration | None = None
    ) -> list[bool]:
        """Run episodes of `version` in `world` until `rows` transitions more were made; returns which succeeded.

        `calibration`: that version's corrections.

        What the last episode makes too many is made less the next time.
        """
        outcomes: list[bool] = []
        self._owed_rows += rows
        while self._owed_rows > 0.0:
            robot, episode = self._episode % len(self._sinks), self._episode // len(self._sinks)
            self._episode += 1
            scenario = self._scenarios[robot].scenario(world, episode)
            result = run_episode(self._env, actor, scenario, record_trace=True, calibration=calibration)
            for record in episode_records(result, episode, version, ActMode.MEAN, self._clock_ns()):
                self._sinks[robot].put(record)
            self._owed_rows -= result.steps
            outcomes.append(result.success)
        return outcomes

    def close(self) -> None:
        """Close the simulator."""
        self._env.close()
