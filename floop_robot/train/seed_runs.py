"""The same training with several seeds, and the mean and spread of what came of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from floop_envs.seeds import MAX_RUN_SEED
from floop_robot.bundle import write_atomic
from floop_robot.spec.errors import ConfigError, FloopError
from floop_robot.train.run_folder import holds_training, next_folder
from floop_robot.train.stop_signals import TrainingInterrupted
from floop_robot.train.train import train
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_output import TrainResult
from floop_robot.train.train_progress import ProgressCallback


class SeedsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `floop train --seeds N --json` prints; means and standard deviations over the seeds."""

    out: str
    success_mean: float | None
    success_std: float | None
    mean_return_mean: float
    mean_return_std: float
    """With N - 1 in the denominator."""
    runs: tuple[TrainResult, ...]


def train_seeds(
    config: TrainConfig, count: int, on_progress: ProgressCallback, *, overwrite: bool = False
) -> SeedsResult:
    """Train with `config.seed` and the seeds after it, one after the other, each in a folder of its own in `out`."""
    config.check()
    seeds = range(config.seed, config.seed + count)
    if seeds[-1] > MAX_RUN_SEED:
        raise ConfigError(f"the last of {count} seeds is {seeds[-1]}; use --seed {MAX_RUN_SEED + 1 - count} or less")
    out = Path(config.out) if config.out else next_folder()
    configs = [msgspec.structs.replace(config, seed=seed, out=str(out / f"seed_{seed}")) for seed in seeds]
    taken = [folder for folder in (out, *(Path(one.out) for one in configs)) if holds_training(folder)]
    if taken and not overwrite:
        raise ConfigError(f"{taken[0]} already holds a training; use --overwrite or another --out")
    runs: list[TrainResult] = []
    for one in configs:
        try:
            runs.append(train(one, on_progress, overwrite=overwrite))
        except (FloopError, TrainingInterrupted) as error:
            error.args = (f"{error}{_not_begun(seeds[len(runs) + 1 :], out)}",)
            raise
    returns = [run.mean_return for run in runs]
    successes = [run.success for run in runs if run.success is not None]
    result = SeedsResult(
        out=str(out),
        success_mean=float(np.mean(successes)) if successes else None,
        success_std=float(np.std(successes, ddof=1)) if len(successes) > 1 else None,
        mean_return_mean=float(np.mean(returns)),
        mean_return_std=float(np.std(returns, ddof=1)),
        runs=tuple(runs),
    )
    write_atomic(out / "seeds.json", msgspec.json.encode(result))
    return result


def _not_begun(seeds: range, out: Path) -> str:
    if not seeds:
        return ""
    first, last = seeds[0], seeds[-1]
    if first == last:
        return f"; seed {first} was not begun: train it with --seed {first} --out {out}/seed_{first}"
    cure = f"--seed {first} --seeds {len(seeds)} --out {out}"
    return f"; seeds {first} to {last} were not begun: train them with {cure}"
