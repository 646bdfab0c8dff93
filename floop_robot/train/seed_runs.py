"""The same training with several seeds, and the mean and spread of what came of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from floop_robot.bundle import write_atomic
from floop_robot.spec.errors import ConfigError
from floop_robot.train.run_folder import next_folder
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
    msgspec.convert({"seed": seeds[-1]}, TrainConfig)
    out = Path(config.out) if config.out else next_folder()
    if (out / "config.yaml").exists() and not overwrite:
        raise ConfigError(f"{out} already holds a training; use --overwrite or another --out")
    runs = tuple(
        train(
            msgspec.structs.replace(config, seed=seed, out=str(out / f"seed_{seed}")), on_progress, overwrite=overwrite
        )
        for seed in seeds
    )
    returns = [run.mean_return for run in runs]
    successes = [run.success for run in runs if run.success is not None]
    result = SeedsResult(
        out=str(out),
        success_mean=float(np.mean(successes)) if successes else None,
        success_std=float(np.std(successes, ddof=1)) if len(successes) > 1 else None,
        mean_return_mean=float(np.mean(returns)),
        mean_return_std=float(np.std(returns, ddof=1)),
        runs=runs,
    )
    write_atomic(out / "seeds.json", msgspec.json.encode(result))
    return result
