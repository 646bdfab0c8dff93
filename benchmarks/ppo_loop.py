"""PPO through the fleet's own loop: `python benchmarks/ppo_loop.py [--seeds 2] [--demonstrations 10]`.

A policy is cloned from a few demonstrations (`floop train --algo ppo`, no further training). Then `floop_robot/loop.py`
improves it from sampled rows of explorers, with their densities and acting versions. Each candidate is measured on
selection scenarios; the run ends at the goal, and the candidate is measured once on 200 others.
Prints one JSON object per seed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec

from floop_envs.seeds import Purpose
from floop_robot.bundle import Bundle
from floop_robot.loop import LoopConfig, LoopProgress, run_loop
from floop_robot.spec.config import FloopConfig, LearnerConfig
from floop_robot.train.train import train
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_env import ArmTrainingEnv


def one_seed(options: argparse.Namespace, seed: int, folder: Path) -> dict[str, object]:
    began, env = time.monotonic(), ArmTrainingEnv(options.task, seed)
    start = train(
        TrainConfig(
            task=options.task, algo="ppo", demonstrations=options.demonstrations, seed=seed, total_timesteps=0,
            out=str(folder / "start"), final_episodes=options.final_episodes,
        )
    )  # fmt: skip
    best: list[tuple[float, Bundle]] = [(start.success, Bundle.load(Path(start.bundle)))]

    def success(bundle: Bundle, purpose: Purpose, count: int) -> float:
        actor = bundle.actor()
        return sum(env.episode(actor, purpose, i, sample=False).success for i in range(count)) / count

    def progress(p: LoopProgress) -> bool:
        if p.candidate is None:
            return False
        reached = success(p.candidate, Purpose.SELECTION, options.episodes)
        print(f"seed {seed}: {p.second} virtual s, selection {reached:.0%}", file=sys.stderr)
        best.append((reached, p.candidate))
        return reached >= options.until

    learner = LearnerConfig(algo="ppo", candidate_interval_s=10.0)
    config = LoopConfig(
        fleet=FloopConfig(task=options.task, seed=seed, baseline=start.bundle, learner=learner),
        seconds=options.seconds,
        robot_rows=options.robot_rows,
        explorer_rows=options.explorer_rows,
        until_improved=False,
    )
    result, (reached, bundle) = run_loop(config, progress), best[-1]
    return {
        "seed": seed,
        "demonstrations": options.demonstrations,
        "bc_success": start.bc_success,
        "success": success(bundle, Purpose.REPORT, options.final_episodes),
        "selection_success": reached,
        "virtual_s": result.seconds,
        "accepted": result.accepted,
        "wall_s": round(time.monotonic() - began, 1),
        "learner": msgspec.to_builtins(result.learner),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="floop/Pick-v0")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--demonstrations", type=int, default=10)
    parser.add_argument("--until", type=float, default=0.97, help="selection success that ends a seed")
    parser.add_argument("--seconds", type=int, default=300, help="most virtual seconds")
    parser.add_argument("--robot-rows", type=int, default=50)
    parser.add_argument("--explorer-rows", type=int, default=300)
    parser.add_argument("--episodes", type=int, default=100, help="selection scenarios")
    parser.add_argument("--final-episodes", type=int, default=200)
    parser.add_argument("--smoke", action="store_true", help="a few virtual seconds, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.seconds, options.demonstrations, options.explorer_rows = 1, 2, 2, 40
        options.episodes, options.final_episodes = 2, 2
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        with tempfile.TemporaryDirectory(prefix="floop-ppo-") as folder:
            print(json.dumps(one_seed(options, seed, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
