"""Time of one SAC update on the same data: stable-baselines3's, and floop's in numpy and in compiled code.

    python benchmarks/updates.py [--json]

One BLAS thread, CPU time of this process. The kinds take turns, and each counts with its best round, because the
machine may be shared. The models are those of floop/Pick-v0, and `train` is timed with everything that it does in use:
each model draws its batches from its own replay buffer. A fleet's learner adds imitation and the average of its actor:
`learner` times `SacAlgorithm.update` with the default settings of a fleet. Where sbx (JAX) is installed, it takes part.
So does a GPU where torch finds one (`learn/device_update.py`); there the time that passes counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger

from floop_robot.learn.compiled_update import instruction_set
from floop_robot.learn.factory import build_sac
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.rlpd_buffer import RlpdReplayBuffer
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.default_settings import FLEET_SAC
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.spec.tasks import get_task

ROWS, STEPS, ROUNDS = 4000, 40, 8
SHAPES = ((64, 64), (128, 128), (256, 256))
BATCHES = (64, 256)
Train = Callable[[int], object]
"""Does so many gradient steps."""


def random_rows(space: PolicySpace) -> Transitions:
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((2, ROWS, space.observation.size)).astype(np.float32)
    action = rng.uniform(-1, 1, (ROWS, space.action.size)).astype(np.float32)
    return Transitions(
        obs=obs[0], next_obs=obs[1], action=action, action_requested=action,
        reward=rng.standard_normal(ROWS).astype(np.float32), terminated=rng.random(ROWS) < 0.05,
        episode_end=np.zeros(ROWS, np.bool_), log_prob=np.zeros(ROWS, np.float32),
        policy_version=np.zeros(ROWS, np.int64),
        episode=np.arange(ROWS) // 40, stamp_ns=np.zeros(ROWS, np.int64), is_new=np.zeros(ROWS, np.bool_),
    )  # fmt: skip


def fill_mixed(replay: RlpdReplayBuffer, rows: Transitions) -> None:
    """Half known tasks, half new ones, a quarter of whose episodes succeeded."""
    replay.extend("a", rows.take(slice(0, ROWS // 2)), prior=True)
    replay.extend("b", rows.take(slice(ROWS // 2, None)), prior=False)
    for robot in "ab":
        for episode in range(ROWS // 40):
            replay.close_episode(robot, "", episode, failed=episode % 4 > 0)


def fill_plain(plain: ReplayBuffer, rows: Transitions) -> ReplayBuffer:
    plain.observations[:, 0], plain.next_observations[:, 0], plain.actions[:, 0] = rows.obs, rows.next_obs, rows.action
    plain.rewards[:, 0], plain.dones[:, 0], plain.full = rows.reward, rows.terminated, True
    return plain


def stock(space: PolicySpace, hidden: tuple[int, ...], batch_size: int) -> Train:
    model, _ = build_sac(space, SacSettings(net_arch=hidden, value_range=None), 0)
    plain = ReplayBuffer(ROWS, space.normalized_observation, space.normalized_action, device="cpu")
    model.replay_buffer = fill_plain(plain, random_rows(space))
    return lambda steps: SAC.train(model, steps, batch_size)


def ours(space: PolicySpace, hidden: tuple[int, ...], batch_size: int, *, compiled: bool) -> Train:
    model, replay = build_sac(space, SacSettings(net_arch=hidden, value_range=None), 0)
    fill_mixed(replay, random_rows(space))
    model.compiled = compiled
    return lambda steps: model.train(steps, batch_size)


def learner(space: PolicySpace, hidden: tuple[int, ...], batch_size: int, *, compiled: bool) -> Train:
    algorithm = SacAlgorithm(space, SacSettings(net_arch=hidden, batch_size=batch_size).over(FLEET_SAC), 0)
    fill_mixed(algorithm.replay, random_rows(space))
    algorithm.model.compiled = compiled
    return algorithm.update


class _Spaces(gymnasium.Env):  # type: ignore[type-arg]
    """Only its spaces are asked for."""

    def __init__(self, space: PolicySpace) -> None:
        self.observation_space, self.action_space = space.normalized_observation, space.normalized_action


def sbx(space: PolicySpace, hidden: tuple[int, ...], batch_size: int) -> Train:
    import sbx as jax_sb3

    model = jax_sb3.SAC("MlpPolicy", _Spaces(space), policy_kwargs={"net_arch": list(hidden)}, buffer_size=ROWS, seed=0)
    model.set_logger(Logger(folder=None, output_formats=[]))
    fill_plain(model.replay_buffer, random_rows(space))
    return lambda steps: model.train(batch_size, steps)


def on_gpu(space: PolicySpace, hidden: tuple[int, ...], batch_size: int) -> Train:
    model, replay = build_sac(space, SacSettings(net_arch=hidden, value_range=None), 0)
    fill_mixed(replay, random_rows(space))
    model.update_device = "cuda"
    return lambda steps: model.train(steps, batch_size)


def kinds(space: PolicySpace, hidden: tuple[int, ...], batch_size: int) -> dict[str, Train]:
    """Everything that is compared at one size."""
    found = {"stock": stock(space, hidden, batch_size), "numpy": ours(space, hidden, batch_size, compiled=False)}
    if instruction_set():
        found["compiled"] = ours(space, hidden, batch_size, compiled=True)
    if torch.cuda.is_available():
        found["gpu"] = on_gpu(space, hidden, batch_size)
    if importlib.util.find_spec("sbx"):
        found["sbx"] = sbx(space, hidden, batch_size)
    found["learner numpy"] = learner(space, hidden, batch_size, compiled=False)
    if instruction_set():
        found["learner compiled"] = learner(space, hidden, batch_size, compiled=True)
    return found


def milliseconds(trains: dict[str, Train], rounds: int, steps: int) -> dict[str, float]:
    """CPU time of one gradient step of each kind; on a GPU the time that passes."""
    for train in trains.values():
        train(steps)  # JAX compiles for each number of steps
    best = dict.fromkeys(trains, float("inf"))
    for _ in range(rounds):
        for kind, train in trains.items():
            clock = time.perf_counter if kind == "gpu" else time.process_time
            began = clock()
            train(steps)
            best[kind] = min(best[kind], (clock() - began) / steps * 1e3)
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
        for batch_size in BATCHES:
            found = milliseconds(kinds(space, hidden, batch_size), *effort)
            times = {kind: found["stock"] / ms for kind, ms in found.items()}
            results.append({"hidden": hidden, "batch": batch_size, "ms": found, "times_stock": times})
            if not options.json:
                figures = "  ".join(f"{kind} {ms:.2f} ms ({times[kind]:.1f} ×)" for kind, ms in found.items())
                print(f"{hidden!s:>10} batch {batch_size:3d}  {figures}")
    if options.json:
        print(json.dumps({"instruction_set": instruction_set(), "results": results}))
    else:
        print(f"compiled for: {instruction_set() or 'nothing (no compiler, or another processor); numpy does it'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
