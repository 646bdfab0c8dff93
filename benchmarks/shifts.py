"""What each shift does to the shipped policy, and whether a script that knows only boxes and cylinders masters it.

    python benchmarks/shifts.py                     # 200 scenarios for each; minutes
    python benchmarks/shifts.py flat tall           # some of them

Success in the worlds of four robots with hidden parameters, as the demo's report measures it. The expert is the script
that demonstrates known tasks: where it succeeds, the shift can surely be learned. Where it fails, nothing follows.
"""

from __future__ import annotations

import argparse

import numpy as np

from floop_envs.env import ArmEnv, make_env
from floop_envs.expert import Expert
from floop_envs.rollout import run_episode
from floop_envs.shifts import SHIFTS, get_shift
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.core import PolicyActor
from floop_robot.sim.sim_world import evaluation_scenarios
from floop_robot.spec.scenario import Scenario

ROBOTS = tuple(f"robot_{i + 1}" for i in range(4))


def success(env: ArmEnv, actor: PolicyActor, scenarios: list[Scenario]) -> float:
    """Share of scenarios in which the actor's mean actions succeed."""
    return float(np.mean([run_episode(env, actor, scenario).success for scenario in scenarios]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shifts", nargs="*", help="names; left out: all, and the known tasks")
    parser.add_argument("--task", default="floop/Pick-v0")
    parser.add_argument("--seed", type=int, default=77, help="of the robots' hidden parameters and the scenarios")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--smoke", action="store_true", help="a few scenarios, to see that it runs")
    options = parser.parse_args()
    episodes = 2 if options.smoke else options.episodes
    env = make_env(options.task)
    actors: dict[str, PolicyActor] = {
        "shipped": Bundle.load(baseline(options.task)).actor(),
        "expert": Expert(env.rules.spec),
    }
    names = [get_shift(name).name for name in options.shifts] or [None, *(shift.name for shift in SHIFTS)]
    print("| shift | " + " | ".join(actors) + " |\n|---|" + "---|" * len(actors))
    for name in names:
        scenarios = evaluation_scenarios(options.task, name, ROBOTS, options.seed, episodes)
        rates = [f"{success(env, actor, scenarios):.1%}" for actor in actors.values()]
        print(f"| {name or '(known tasks)'} | " + " | ".join(rates) + " |", flush=True)
    env.close()


if __name__ == "__main__":
    main()
