"""Ways to tell a policy that its robot's camera is off, and what each can reach at best.

    python benchmarks/calibration.py                # 200 scenarios for each way; a minute

The shipped policy after the shift `calibration`, in the worlds of four robots with hidden parameters:

* *as it is*: nobody knows of the offset.
* *policy knows*: the policy acts as if it saw the truth, the best that an offset in its observation could teach it.
  Reward and success are still judged on what the robot perceives.
* *corrected, k mm off*: the offset is subtracted before the observation is built, up to an error of the fit.

`judged` is success as the robot observes it (what gate, learner and monitor see), `true` as the simulator knows it.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from floop_envs.env import ArmEnv, make_env
from floop_envs.rollout import run_episode
from floop_policies import baseline
from floop_robot.bundle import Actor, Bundle
from floop_robot.sim.sim_world import evaluation_scenarios
from floop_robot.spec.calibration import Offset
from floop_robot.spec.layout import Layout, Vector
from floop_robot.spec.scenario import Scenario

ROBOTS = tuple(f"robot_{i + 1}" for i in range(4))


class Knowing:
    """An actor that subtracts the offset from what it is shown."""

    def __init__(self, actor: Actor, layout: Layout, offset: Offset) -> None:
        self._actor = actor
        self._shift = np.zeros(layout.size, np.float32)
        self._shift[layout.slices["object_from_tcp"]] = offset
        self._shift[layout.slices["object_height"]] = offset[2]

    def mean(self, observation: Vector) -> Vector:
        """The best action, in [-1, 1]."""
        return self._actor.mean(observation - self._shift)

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        """A random action, and its log-density."""
        return self._actor.sample(observation - self._shift, rng)


def as_it_is(env: ArmEnv, actor: Actor, scenario: Scenario) -> tuple[bool, bool]:
    """Judged and true success."""
    result = run_episode(env, actor, scenario)
    return result.success, result.true_success


def policy_knows(env: ArmEnv, actor: Actor, scenario: Scenario) -> tuple[bool, bool]:
    """Judged and true success."""
    knowing = Knowing(actor, env.rules.spec.observation, scenario.calibration_offset_m)
    result = run_episode(env, knowing, scenario)
    return result.success, result.true_success


def corrected(env: ArmEnv, actor: Actor, scenario: Scenario, error_m: float) -> tuple[bool, bool]:
    """Judged and true success; the correction is `error_m` off, in some direction on the table."""
    angle = np.random.default_rng(scenario.seed).uniform(0.0, math.tau)
    x, y, z = scenario.calibration_offset_m
    correction = x + error_m * math.cos(angle), y + error_m * math.sin(angle), z
    result = run_episode(env, actor, scenario, calibration={scenario.robot: correction})
    return result.success, result.true_success


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="floop/Pick-v0")
    parser.add_argument("--seed", type=int, default=78, help="of the robots' hidden parameters and the scenarios")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--smoke", action="store_true", help="a few scenarios, to see that it runs")
    options = parser.parse_args()
    episodes = 2 if options.smoke else options.episodes
    env, actor = make_env(options.task), Bundle.load(baseline(options.task)).actor()
    scenarios = evaluation_scenarios(options.task, "calibration", ROBOTS, options.seed, episodes)
    ways = {"as it is": as_it_is, "policy knows": policy_knows}
    print("| way | judged | true |\n|---|---|---|")
    for name, way in ways.items():
        _print(name, [way(env, actor, scenario) for scenario in scenarios])
    for error_mm in (0, 3, 5, 8, 12):
        outcomes = [corrected(env, actor, scenario, error_mm * 1e-3) for scenario in scenarios]
        _print(f"corrected, {error_mm} mm off", outcomes)
    env.close()


def _print(name: str, outcomes: list[tuple[bool, bool]]) -> None:
    judged, true = np.mean(outcomes, axis=0)
    print(f"| {name} | {judged:.1%} | {true:.1%} |", flush=True)


if __name__ == "__main__":
    main()
