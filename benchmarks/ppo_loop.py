"""PPO through the fleet's own loop: `python benchmarks/ppo_loop.py [--seeds 2] [--demonstrations 10]`.

A policy is cloned from a few demonstrations (`floop train --algo ppo`, no further training); then ingest, learner and
explorers run as real processes, and the learner improves it from streamed, sampled rows with their densities and acting
versions. Every few seconds the live weights are measured on selection scenarios; when they reach the goal, once on 200
others. Prints one JSON object per seed; wall times are those of the machine as it is.
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
from floop_robot.bundle import Actor
from floop_robot.explore.weight_subscriber import WeightSubscriber
from floop_robot.learn.status import LearnerStatus
from floop_robot.services.supervision.fleet_description import central_processes, write_config
from floop_robot.services.supervision.ports import reserved_base_port
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import Endpoints, FloopConfig, LearnerConfig
from floop_robot.train.train import TrainConfig, train
from floop_robot.train.train_env import ArmTrainingEnv

FINAL_EPISODES = 200
SELECTION_EPISODES = 100
LONGEST_S = 300.0
LOOK_S = 10.0


def success(ground: ArmTrainingEnv, actor: Actor, purpose: Purpose, count: int) -> float:
    return sum(ground.episode(actor, purpose, i, sample=False).success for i in range(count)) / count


def one_seed(found: argparse.Namespace, seed: int, folder: Path, base_port: int) -> dict[str, object]:
    started = time.monotonic()
    task, demonstrations, out = found.task, found.demonstrations, str(folder / "start")
    start = train(
        TrainConfig(task=task, algo="ppo", demonstrations=demonstrations, seed=seed, max_transitions=0, out=out)
    )
    config = FloopConfig(
        task=task,
        seed=seed,
        explorers=found.explorers,
        run_dir=str(folder / "run"),
        baseline=start.bundle,
        endpoints=Endpoints(base_port=base_port),
        learner=LearnerConfig(algo="ppo"),
    )
    wanted = [s for s in central_processes(config, write_config(config)) if s.name not in ("gate", "fleet_manager")]
    ground, weights = ArmTrainingEnv(task, seed), WeightSubscriber(config)
    reached, measured_at, cost_s = 0.0, 0, 0.0
    try:
        with Supervisor(wanted, Path(config.run_dir)):
            while time.monotonic() - started < LONGEST_S:
                time.sleep(LOOK_S)
                weights.poll(1000)
                if weights.actor is None or weights.version == measured_at:
                    continue
                measured_at, before = weights.version, time.monotonic()
                reached = success(ground, weights.actor, Purpose.SELECTION, SELECTION_EPISODES)
                cost_s += time.monotonic() - before
                print(
                    f"{time.monotonic() - started:6.1f} s  seed {seed}: weights {measured_at}, selection {reached:.0%}",
                    file=sys.stderr,
                )
                if reached >= found.until:
                    break
            wall_s = time.monotonic() - started
            status = read_stats(Path(config.run_dir), "learner", LearnerStatus)
        final = success(ground, weights.actor, Purpose.REPORT, FINAL_EPISODES) if weights.actor else 0.0
    finally:
        weights.close()
    return {
        "seed": seed,
        "demonstrations": demonstrations,
        "bc_success": start.bc_success,
        "success": final,
        "selection_success": reached,
        "wall_s": round(wall_s, 1),
        "measuring_s": round(cost_s, 1),
        "weights_versions": measured_at,
        "learner": msgspec.to_builtins(status[-1]) if status else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="floop/Pick-v0")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--demonstrations", type=int, default=10)
    parser.add_argument("--until", type=float, default=0.97, help="selection success that ends a seed")
    parser.add_argument("--explorers", type=int, default=2)
    found = parser.parse_args()
    for seed in range(found.first_seed, found.first_seed + found.seeds):
        with reserved_base_port() as base_port, tempfile.TemporaryDirectory(prefix="floop-ppo-") as folder:
            result = one_seed(found, seed, Path(folder), base_port)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
