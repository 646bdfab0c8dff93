"""How far an explorer's tries by analogy come at shifted tasks, before anything is learned from them.

    python benchmarks/tries.py --task floop/PickPlace-v0 --shift new-object

The shipped policy is shown what `explore/analogy_exploration.py` draws, each time another way. `--search` repeats ways
as explorers of a PPO fleet do (`explore/way_search.py`), but at fresh scenarios only. Prints one line for each 50
tries: the share in which the object was grasped, was held half as high as the task lifts it, in which the task
succeeded, and in which joints left their limits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from floop_envs.env import ArmEnv, make_env
from floop_envs.rollout import RolloutResult, run_episode
from floop_envs.seeds import Purpose, scenario_of, seed_of
from floop_envs.shifts import shifted_scenarios
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.explore.analogy_exploration import AnalogyPolicy, analogies
from floop_robot.explore.explorer import KNOWN
from floop_robot.explore.way_search import Way, WaySearch, WayTry
from floop_robot.spec.tasks.grasp_state import GraspEstimator, GraspParameters
from floop_robot.spec.tasks.shaped import ShapedParameters

GROUP = 50


class Tries:
    """Tries of one task and shift."""

    def __init__(self, task: str, bundle: Path, shift: str, seed: int) -> None:
        self.env: ArmEnv = make_env(task)
        self._source, self._seed = shifted_scenarios(shift, task), seed
        self._layout = self.env.rules.spec.observation
        self._actor = Bundle.load(bundle).actor()
        self._sensor = GraspEstimator(self._layout, GraspParameters())
        self._rng = np.random.default_rng(seed)
        self._space = analogies(len(KNOWN))
        self.search = WaySearch(self._space)

    def run(self, number: int, learn: bool) -> tuple[bool, bool, bool, bool]:
        """One try: whether the object was grasped, lifted, the task done, and the joints outside their limits."""
        tried = self.search.draw(self._rng) if learn else WayTry(Way(self._space.draw(self._rng)))
        actor = AnalogyPolicy(self._actor, self._layout, KNOWN, tried.point, self.env.yaws_rad)
        scenario = scenario_of(self._source, seed_of(Purpose.TRAINING, self._seed, number))
        result = run_episode(self.env, actor, scenario, self._rng, sample=True, record_trace=True)
        if learn:
            self.search.outcome(tried, success=result.success, score=result.furthest)
        return (*self._stages(result), result.success, result.limit_violations > 0)

    def _stages(self, result: RolloutResult) -> tuple[bool, bool]:
        states = [self._sensor.read(step.next_obs) for step in result.trace]
        half = 0.5 * ShapedParameters(hold_s=0.0).lift_height_m
        return any(s.grasped for s in states), any(s.grasped and s.lift_m >= half for s in states)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="floop/PickPlace-v0")
    parser.add_argument("--algo", default="sac", help="whose shipped policy tries")
    parser.add_argument("--bundle", type=Path, help="another policy than the shipped one")
    parser.add_argument("--shift", default="new-object")
    parser.add_argument("--seed", type=int, default=30)
    parser.add_argument("--tries", type=int, default=300)
    parser.add_argument("--search", action="store_true", help="repeat ways that succeed, as explorers do")
    parser.add_argument("--smoke", action="store_true", help="a few tries, to see that it runs")
    options = parser.parse_args()
    bundle = options.bundle or baseline(options.task, options.algo)
    tries = Tries(options.task, bundle, options.shift, options.seed)
    count = 3 if options.smoke else options.tries
    for first in range(0, count, GROUP):
        found = [tries.run(i, options.search) for i in range(first, min(first + GROUP, count))]
        shares = zip(("grasped", "lifted", "succeeded", "outside limits"), np.mean(found, axis=0), strict=True)
        print(f"tries {first + 1:4d}-  " + "  ".join(f"{name} {share:.0%}" for name, share in shares), flush=True)
    tries.env.close()


if __name__ == "__main__":
    main()
