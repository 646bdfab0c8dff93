"""How much data and computing the learner needs to recover from a shift: the fleet's loop in one process, no sockets.

    python benchmarks/shift_recovery.py --shift new-object --seeds 3

A virtual second brings what a small fleet brings: `--robot-rows` of robots that run the deployed policy on shifted
work, `--explorer-rows` of explorers that sample the live weights, half on shifted, half on old work. Every
`--candidate-s` the live policy is measured on held-out shifted and old scenarios; a better one is deployed. A goal
above 1 is never reached: then the whole curve is run, for comparing settings of the learner (`--learner`).
Prints one line per measurement and, at the end, one JSON object per seed. CPU seconds are those of this process, split.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from floop_robot.core import PolicyActor, ScenarioSource

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec
import numpy as np
import torch

from floop_envs.env import make_env
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenario_of, seed_of
from floop_envs.shifts import shifted_scenarios
from floop_policies import baseline
from floop_robot.bundle import Actor, Normalization
from floop_robot.explore.analogy_exploration import AnalogyPolicy
from floop_robot.explore.domain_randomization import DomainRandomization
from floop_robot.learn.checkpoint import Checkpoint
from floop_robot.learn.export import actor_architecture
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.monitor.shift_detector import ShiftDetector
from floop_robot.replay.transitions import EndedEpisode
from floop_robot.services.learner import sac_settings
from floop_robot.spec.config import LearnerConfig
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.train.train_env import rows_of


class Recovery:
    """One seed's run."""

    def __init__(self, options: argparse.Namespace, learner: LearnerConfig, seed: int) -> None:
        self.options, self.seed = options, seed
        self.env = make_env(options.task)
        spec = self.env.rules.spec
        self.ids = ids_of(self.env.rules, self.env.robot)
        checkpoint = Checkpoint.load(Path(options.baseline or baseline(options.task)).with_suffix(".learner"))
        settings = sac_settings(learner, checkpoint.info.hidden)
        self.algorithm = SacAlgorithm(PolicySpace.of(spec), settings, seed)
        self.algorithm.restore(checkpoint.arrays, 0)
        prior = checkpoint.prior_rows(spec.observation.size, spec.action.size)
        if prior is not None:
            self.algorithm.replay.extend("shipped", prior, prior=True)
        self.known = checkpoint.info.known
        self.won = np.zeros((2, 2), np.int64)
        self.plain: deque[bool] = deque(maxlen=20)
        self.shift_detector = ShiftDetector(spec.observation, checkpoint.info.known)
        offset, scale = spec.observation.offset.tolist(), spec.observation.scale.tolist()
        self.normalization = Normalization(tuple(offset), tuple(scale))
        self.old, self.shifted = TrainingScenarios(options.task), shifted_scenarios(options.shift, options.task)
        self.deployed = self.live()
        self.episodes = self.rows = self.fresh_rows = 0
        self.owed = self.cpu_env = self.cpu_learn = self.cpu_measure = 0.0
        self.rng = np.random.default_rng(seed)

    @property
    def need(self) -> float:
        """How badly the policy itself does at shifted work: the less it succeeds, the more is tried elsewhere."""
        return 1.0 - sum(self.plain) / len(self.plain) if self.plain else 1.0

    def live(self) -> Actor:
        """The policy as it is now."""
        architecture, tensors = actor_architecture(self.algorithm.model)
        return Actor(architecture, self.normalization, tensors)

    def act(self, who: str, actor: PolicyActor, work: ScenarioSource, rows: int, *, sample: bool) -> None:
        """Episodes until `rows` rows are made; the learner takes them."""
        began, made = time.process_time(), 0
        source = Source.EXPLORER if sample else Source.ROBOT
        while made < rows:
            self.episodes += 1
            purpose = Purpose.EXPLORER if sample else Purpose.ROBOT
            scenario = scenario_of(DomainRandomization(work), seed_of(purpose, self.seed, self.episodes))
            analogy = sample and work is self.shifted and self.rng.random() < self.options.analogy * self.need
            acting: PolicyActor = actor
            if analogy:
                known = self.known.classes[int(self.rng.integers(len(self.known.classes)))]
                acting = AnalogyPolicy(actor, self.env.rules.spec.observation, known, self.rng)
            done = run_episode(self.env, acting, scenario, self.rng, sample=sample, record_trace=True)
            if sample and work is self.shifted:
                self.won[int(analogy)] += (done.success, 1)
                if not analogy:
                    self.plain.append(done.success)
            part = rows_of(done.trace, self.episodes)
            fresh = self.shift_detector(part.obs)
            ended = (EndedEpisode(self.episodes, failed=not done.success),)
            part.is_new[:] = fresh
            stream = StreamInfo(who, "", self.options.task, self.ids, source)
            self.owed += self.algorithm.take(stream, part, ended)
            made, self.fresh_rows = made + len(part), self.fresh_rows + int(fresh.sum())
        self.rows += made
        self.cpu_env += time.process_time() - began

    def update(self) -> None:
        """The gradient steps that the rows taken in pay for."""
        began = time.process_time()
        self.owed -= self.algorithm.update(int(self.owed))
        self.cpu_learn += time.process_time() - began

    def measure(self, actor: PolicyActor, work: ScenarioSource, purpose: Purpose, count: int) -> float:
        """Success of the mean policy on `count` scenarios of a purpose."""
        began = time.process_time()
        scenarios = [scenario_of(work, seed_of(purpose, self.seed, i)) for i in range(count)]
        won = sum(run_episode(self.env, actor, scenario).success for scenario in scenarios)
        self.cpu_measure += time.process_time() - began
        return won / count

    def run(self) -> dict[str, Any]:
        """Virtual seconds of the fleet until the goal is reached."""
        o = self.options
        self.act("explorer", self.deployed, self.old, o.old_rows, sample=True)
        self.owed = 0.0
        dip = self.measure(self.deployed, self.shifted, Purpose.SELECTION, o.episodes)
        print(f"seed {self.seed}: before {dip:.2f} on shifted work", flush=True)
        start, best, recovered_s = time.process_time(), dip, None
        curve: list[float] = []
        self.rows = self.fresh_rows = 0
        self.cpu_env = self.cpu_measure = self.cpu_learn = 0.0
        for second in range(1, o.seconds + 1):
            self.act("robots", self.deployed, self.shifted, o.robot_rows, sample=False)
            for work in (self.shifted, self.old):
                self.act("explorer", self.live(), work, o.explorer_rows // 2, sample=True)
            self.update()
            if second % o.candidate_s:
                continue
            with self.algorithm.averaged_weights():
                actor = self.live()
            shifted = self.measure(actor, self.shifted, Purpose.SELECTION, o.episodes)
            old = self.measure(actor, self.old, Purpose.SELECTION, o.episodes)
            p = self.algorithm.progress
            print(
                f"  {second:3d} s  rows {self.rows:5d} ({self.fresh_rows} fresh)  steps {p.gradient_steps:6d}  shifted "
                f"{shifted:.2f}  old {old:.2f}  alpha {p.alpha:.4f}  entropy {p.entropy:6.2f}  "
                f"critic {p.critic_loss:.2f}  won {self.won[0]} by analogy {self.won[1]}  "
                f"cpu env {self.cpu_env:.1f} learn {self.cpu_learn:.1f}",
                flush=True,
            )
            self.won[:] = 0
            curve.append(shifted)
            if old >= 0.93 and shifted > best:
                best, self.deployed = shifted, actor
            if old >= 0.95 and shifted >= o.goal:
                recovered_s = second
                break
        spent = time.process_time() - start - self.cpu_measure
        final = {
            "shifted": self.measure(self.deployed, self.shifted, Purpose.REPORT, 200),
            "old": self.measure(self.deployed, self.old, Purpose.REPORT, 200),
        }
        return {
            "seed": self.seed, "dip": dip, "curve": curve, "recovered_virtual_s": recovered_s, "rows": self.rows,
            "fresh_rows": self.fresh_rows, "gradient_steps": self.algorithm.progress.gradient_steps,
            "cpu_s": round(spent, 1), "cpu_env_s": round(self.cpu_env, 1), "cpu_learn_s": round(self.cpu_learn, 1),
            **final,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="floop/Pick-v0")
    parser.add_argument("--shift", default="new-object")
    parser.add_argument("--baseline", default="", help="bundle whose .learner lies beside it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--robot-rows", type=int, default=50)
    parser.add_argument("--explorer-rows", type=int, default=300)
    parser.add_argument("--old-rows", type=int, default=2000, help="rows of old work in replay before the shift")
    parser.add_argument("--analogy", type=float, default=0.6, help="most that explorers try by analogy")
    parser.add_argument("--candidate-s", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--goal", type=float, default=0.94)
    parser.add_argument("--learner", default="{}", help="JSON of LearnerConfig fields that differ")
    options = parser.parse_args()
    torch.set_num_threads(1)
    learner = msgspec.json.decode(options.learner, type=LearnerConfig)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        print(json.dumps(Recovery(options, learner, seed).run()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
