"""SeedSeries: the same training with several seeds, and the mean and spread of what came of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import numpy as np

from floop_envs.seeds import MAX_RUN_SEED
from floop_robot.bundle import write_atomic
from floop_robot.spec.errors import ConfigError, FloopError, StorageError
from floop_robot.train.run_folder import RESULT, SERIES, STATE, SUMMARY, RunFolder, holds_training, next_folder
from floop_robot.train.stop_signals import TrainingInterrupted
from floop_robot.train.train import check_config, is_finished, resume, train
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


class SeedSeries(msgspec.Struct, frozen=True, kw_only=True):
    """A series as it was asked for, kept in its folder."""

    config: TrainConfig
    """Of its first training, without folder."""
    count: int

    @property
    def seeds(self) -> range:
        """`config.seed` and those after it."""
        return range(self.config.seed, self.config.seed + self.count)

    def config_in(self, out: Path, seed: int) -> TrainConfig:
        """The configuration of one training, with the folder of its own."""
        return msgspec.structs.replace(self.config, seed=seed, out=str(out / f"seed_{seed}"))

    def train(self, out: Path, on_progress: ProgressCallback) -> SeedsResult:
        """Train with each seed that is not done, one after the other; a stopped one goes on where it was."""
        runs: list[TrainResult] = []
        for seed in self.seeds:
            try:
                runs.append(_trained(self.config_in(out, seed), on_progress))
            except (FloopError, TrainingInterrupted) as error:
                if runs or holds_training(Path(self.config_in(out, seed).out)):
                    error.args = (f"{error}; go on with the whole series by floop train --resume {out}",)
                raise
        result = _result(out, tuple(runs))
        write_atomic(out / SUMMARY, msgspec.json.encode(result))
        return result


def train_seeds(
    config: TrainConfig, count: int, on_progress: ProgressCallback, *, overwrite: bool = False
) -> SeedsResult:
    """Train with `config.seed` and the seeds after it, one after the other, each in a folder of its own in `out`."""
    check_config(config)
    series = SeedSeries(config=msgspec.structs.replace(config, out=""), count=count)
    if series.seeds[-1] > MAX_RUN_SEED:
        last, cure = series.seeds[-1], f"use --seed {MAX_RUN_SEED + 1 - count} or less"
        raise ConfigError(f"the last of {count} seeds is {last}; {cure}")
    out = Path(config.out) if config.out else next_folder()
    folders = [out, *(Path(series.config_in(out, seed).out) for seed in series.seeds)]
    taken = [folder for folder in folders if holds_training(folder)]
    if taken and not overwrite:
        way = f"--resume {out}, " if is_series(out) else ""
        raise ConfigError(f"{taken[0]} already holds a training; use {way}--overwrite or another --out")
    for folder in taken:
        with RunFolder(folder) as place:
            place.start(overwrite=True)
    write_atomic(out / SERIES, msgspec.json.encode(series))
    try:
        return series.train(out, on_progress)
    except FloopError:
        if not any(map(holds_training, folders[1:])):  # such as for an unknown environment
            (out / SERIES).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                out.rmdir()
        raise


def is_series(out: Path) -> bool:
    """Whether a folder is that of a series."""
    return (out / SERIES).exists()


def resume_seeds(out: Path, on_progress: ProgressCallback, *, total_timesteps: int | None = None) -> SeedsResult:
    """Go on with a series: what is done stays, what was stopped goes on, what was not begun begins.

    `total_timesteps`: another end of all. Raises a `FloopError` or `TrainingInterrupted`.
    """
    path = out / SERIES
    try:
        series = msgspec.json.decode(path.read_bytes(), type=SeedSeries)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; check the folder") from None
    except msgspec.MsgspecError as error:
        raise StorageError(f"{path} is damaged ({error}); resume each seed by its own folder") from None
    if total_timesteps is not None:
        series = msgspec.structs.replace(
            series, config=msgspec.structs.replace(series.config, total_timesteps=total_timesteps)
        )
        check_config(series.config)
        write_atomic(path, msgspec.json.encode(series))
    return series.train(out, on_progress)


def _trained(config: TrainConfig, on_progress: ProgressCallback) -> TrainResult:
    folder = Path(config.out)
    if not (folder / STATE).exists():  # a killed one may have left files, but nothing to go on from
        return train(config, on_progress, overwrite=True)
    if is_finished(folder, config.total_timesteps):
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=TrainResult)
    return resume(folder, on_progress, total_timesteps=config.total_timesteps)


def _result(out: Path, runs: tuple[TrainResult, ...]) -> SeedsResult:
    returns = [run.mean_return for run in runs]
    successes = [run.success for run in runs if run.success is not None]
    return SeedsResult(
        out=str(out),
        success_mean=float(np.mean(successes)) if successes else None,
        success_std=float(np.std(successes, ddof=1)) if len(successes) > 1 else None,
        mean_return_mean=float(np.mean(returns)),
        mean_return_std=float(np.std(returns, ddof=1)),
        runs=runs,
    )
