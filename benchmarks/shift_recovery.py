"""How much data and computing a fleet needs to recover from a shift: `floop_robot/loop.py`, measured as it runs.

    python benchmarks/shift_recovery.py --shift new-object --seeds 3

Every candidate is measured on held-out scenarios, shifted ones and known tasks. A goal above 1 is never reached: then
the whole curve is run, for comparing settings of the learner (`--learner`). Prints one line per candidate and, at the
end, one JSON object per seed. CPU seconds are those of this process without the measuring.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec
import torch

from floop_envs.env import make_env
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_envs.shifts import shifted_scenarios
from floop_robot.bundle import Bundle
from floop_robot.deploy.tti import TimeToImprovement
from floop_robot.explore.explorer import ANALOGY_SHARE
from floop_robot.loop import LoopConfig, LoopProgress, run_loop
from floop_robot.spec.config import FloopConfig, LearnerConfig

SHIFT_AT_S = 5


class Recovery:
    """One seed's run."""

    def __init__(self, options: argparse.Namespace, learner: LearnerConfig, seed: int) -> None:
        learner = msgspec.structs.replace(learner, candidate_interval_s=float(options.candidate_s))
        self.options, self.seed = options, seed
        self.config = LoopConfig(
            fleet=FloopConfig(task=options.task, seed=seed, baseline=options.baseline, learner=learner),
            shift=options.shift,
            shift_at_s=SHIFT_AT_S,
            seconds=SHIFT_AT_S + options.seconds,
            robot_rows=options.robot_rows,
            explorer_rows=options.explorer_rows,
            analogy_share=options.analogy,
            until_improved=False,
        )
        self.env = make_env(options.task)
        self.sources = {
            "shifted": shifted_scenarios(options.shift, options.task),
            "old": TrainingScenarios(options.task),
        }
        self.curve: list[float] = []
        self.recovered_s: int | None = None
        self.measuring_s = 0.0

    def measure(self, bundle: Bundle, purpose: Purpose, count: int) -> dict[str, float]:
        """Success of the mean policy on `count` scenarios of a purpose, shifted and known."""
        began, actor = time.process_time(), bundle.actor()
        found = {
            name: sum(run_episode(self.env, actor, s).success for s in scenarios_of(source, purpose, self.seed, count))
            / count
            for name, source in self.sources.items()
        }
        self.measuring_s += time.process_time() - began
        return found

    def progress(self, p: LoopProgress) -> bool:
        """Measure a candidate; whether the goal is reached."""
        if p.candidate is None or p.second <= SHIFT_AT_S:
            return False
        second, found = p.second - SHIFT_AT_S, self.measure(p.candidate, Purpose.SELECTION, self.options.episodes)
        verdict = f"{p.verdict.decision}: {p.verdict.reason}" if p.verdict else ""
        print(
            f"  {second:3d} s  v{p.version}  robots {p.robot_successes}/{p.robot_episodes}  steps "
            f"{p.learner.gradient_steps:6d}  shifted {found['shifted']:.2f}  old {found['old']:.2f}  {verdict}",
            flush=True,
        )
        self.curve.append(found["shifted"])
        if found["old"] < 0.95 or found["shifted"] < self.options.goal:
            return False
        self.recovered_s = second
        return True

    def run(self) -> dict[str, Any]:
        """Virtual seconds of the fleet until the goal is reached."""
        began = time.process_time()
        result = run_loop(self.config, self.progress)
        spent_s, tti = time.process_time() - began - self.measuring_s, result.tti
        return {
            "seed": self.seed, "curve": self.curve, "recovered_virtual_s": self.recovered_s,
            "tti_s": tti.tti_s if isinstance(tti, TimeToImprovement) else None,
            "rows": result.learner.robot_rows + result.learner.explorer_rows,
            "new_rows": result.learner.new_rows, "gradient_steps": result.learner.gradient_steps,
            "accepted": result.accepted, "rejected": result.rejected, "inconclusive": result.inconclusive,
            "cpu_s": round(spent_s, 1), **self.measure(result.bundle, Purpose.REPORT, self.options.final_episodes),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="floop/Pick-v0")
    parser.add_argument("--shift", default="new-object")
    parser.add_argument("--baseline", default="", help="bundle whose .learner lies beside it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=60, help="virtual seconds after the shift")
    parser.add_argument("--robot-rows", type=int, default=50)
    parser.add_argument("--explorer-rows", type=int, default=300)
    parser.add_argument("--analogy", type=float, default=ANALOGY_SHARE, help="largest share by analogy")
    parser.add_argument("--candidate-s", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=50, help="held-out scenarios per candidate")
    parser.add_argument("--final-episodes", type=int, default=200)
    parser.add_argument("--goal", type=float, default=0.94)
    parser.add_argument("--learner", default="{}", help="JSON of LearnerConfig fields that differ")
    parser.add_argument("--smoke", action="store_true", help="a few virtual seconds, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.seconds, options.episodes, options.final_episodes = 1, 2, 2, 2
        options.candidate_s, options.robot_rows, options.explorer_rows = 1, 20, 40
    torch.set_num_threads(1)
    learner = msgspec.json.decode(options.learner, type=LearnerConfig)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        print(json.dumps(Recovery(options, learner, seed).run()), flush=True)


if __name__ == "__main__":
    main()
