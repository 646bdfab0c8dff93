"""Time of one SAC update: stable-baselines3's, and floop's numpy one, on the same data.

    python benchmarks/updates.py [--json]

One BLAS thread, CPU time of this process, the best of several rounds (the machine may be shared). The models are those
of floop/Pick-v0; the replay buffers are each one's own, so that drawing batches counts as it does in use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer

from floop_robot.learn.factory import build_sac
from floop_robot.learn.sac import FloopSAC
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.spec.tasks import get_task

ROWS, STEPS, ROUNDS = 4000, 40, 6
SHAPES = ((64, 64), (128, 128), (256, 256))


def random_rows(space: PolicySpace) -> Transitions:
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((2, ROWS, space.observation.size)).astype(np.float32)
    action = rng.uniform(-1, 1, (ROWS, space.action.size)).astype(np.float32)
    return Transitions(
        obs=obs[0], next_obs=obs[1], action=action, action_requested=action,
        reward=rng.standard_normal(ROWS).astype(np.float32), terminated=rng.random(ROWS) < 0.05,
        episode_end=np.zeros(ROWS, np.bool_), log_prob=np.zeros(ROWS, np.float32),
        policy_version=np.zeros(ROWS, np.int64),
        episode=np.zeros(ROWS, np.int64), stamp_ns=np.zeros(ROWS, np.int64), is_new=np.zeros(ROWS, np.bool_),
    )  # fmt: skip


def models(space: PolicySpace, hidden: tuple[int, ...]) -> tuple[SAC, FloopSAC]:
    settings = SacSettings(net_arch=hidden, value_range=None)
    ours, replay = build_sac(space, settings, 0)
    stock, _ = build_sac(space, settings, 0)
    rows = random_rows(space)
    replay.extend("a", rows.take(slice(0, ROWS // 2)), prior=True)
    replay.extend("b", rows.take(slice(ROWS // 2, None)), prior=False)
    plain = ReplayBuffer(ROWS, space.normalized_observation, space.normalized_action, device="cpu")
    plain.observations[:, 0], plain.next_observations[:, 0], plain.actions[:, 0] = rows.obs, rows.next_obs, rows.action
    plain.rewards[:, 0], plain.dones[:, 0], plain.full = rows.reward, rows.terminated, True
    stock.replay_buffer = plain
    return stock, ours


def milliseconds(train: object, model: SAC, batch_size: int, rounds: int, steps: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        train(model, steps, batch_size)  # type: ignore[operator]
        best = min(best, (time.process_time() - began) / steps * 1e3)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    options = parser.parse_args()
    effort = (1, 2) if options.smoke else (ROUNDS, STEPS)
    torch.set_num_threads(1)
    space = PolicySpace.of(get_task("floop/Pick-v0").spec)
    results = []
    for hidden in SHAPES[:1] if options.smoke else SHAPES:
        stock, ours = models(space, hidden)
        for batch_size in (64, 256):
            old = milliseconds(SAC.train, stock, batch_size, *effort)
            new = milliseconds(FloopSAC.train, ours, batch_size, *effort)
            figures = {"stock_ms": old, "floop_ms": new, "times": old / new}
            results.append({"hidden": hidden, "batch": batch_size, **figures})
            if not options.json:
                times = f"stock {old:6.2f} ms  floop {new:6.2f} ms  {old / new:.1f} ×"
                print(f"{hidden!s:>12}  batch {batch_size:4d}  {times}")
    if options.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
