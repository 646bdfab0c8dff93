"""The statistics of a stable-baselines3 `VecNormalize` as a bundle's normalization."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from floop_robot.bundle import Normalization
from floop_robot.learn.actor_network import UnreadablePolicy
from floop_robot.spec.layout import Layout
from floop_robot.spec.task import TaskSpec

MAX_BYTES = 64 << 20
"""Statistics have some kilobytes."""


def read_statistics(path: Path) -> VecNormalize:
    """Unpickle what `VecNormalize.save` wrote, which runs what its author put in; raises `UnreadablePolicy`."""
    try:
        with path.open("rb") as file:
            found = pickle.loads(file.read(MAX_BYTES))  # noqa: S301 (its user trusts it; it runs in a process of its own)
    except Exception as error:  # a pickle may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UnreadablePolicy(f"{path} can't be read ({reason}); give the file that VecNormalize.save wrote") from None
    if not isinstance(found, VecNormalize):
        raise UnreadablePolicy(f"{path} holds a {type(found).__name__}; give the file that VecNormalize.save wrote")
    return found


def normalization_of(statistics: VecNormalize, path: Path, task: TaskSpec) -> Normalization:
    """`clip((x - mean) / sqrt(var + epsilon), ±clip_obs)`, or none where only rewards were normalized.

    Raises `UnreadablePolicy` when the statistics are of other observations than the task's.
    """
    size = task.observation.size
    if not statistics.norm_obs:
        return Normalization((0.0,) * size, (1.0,) * size)
    rms = statistics.obs_rms
    if not isinstance(rms, RunningMeanStd):
        raise UnreadablePolicy(f"{path} normalizes a dictionary of observations; {task.id} has a vector of {size}")
    mean, scale = (np.asarray(x, np.float64) for x in (rms.mean, np.sqrt(rms.var + statistics.epsilon)))
    if mean.shape != (size,):
        raise UnreadablePolicy(
            f"{path} normalizes observations of shape {mean.shape}, {task.id} has {size} numbers; "
            "give the statistics of this policy's own training"
        )
    limit = float(statistics.clip_obs)
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0.0).all() and limit > 0.0):
        raise UnreadablePolicy(f"{path} holds NaN, infinity or a variance below 0; give sound statistics")
    require_inside(task.observation, mean, f"{path}: the mean of")
    return Normalization(tuple(mean.tolist()), tuple(scale.tolist()), limit if np.isfinite(limit) else None)


def require_inside(layout: Layout, values: np.ndarray, what: str) -> None:
    """Raise `UnreadablePolicy` for the first of `values`, shape (size,), that no observation of the task can have."""
    if (fault := outside(layout, values)) is not None:
        raise UnreadablePolicy(f"{what} {fault}; these are not the observations of this task")


def outside(layout: Layout, values: np.ndarray) -> str | None:
    """The first value that lies outside its range by more than a hundredth of it, in words; None if there is none."""
    slack = 0.01 * (layout.high.astype(np.float64) - layout.low)
    beyond = np.flatnonzero((values < layout.low - slack) | (values > layout.high + slack) | ~np.isfinite(values))
    if not len(beyond):
        return None
    i = int(beyond[0])
    return f"{name_of(layout, i)} is {values[i]:.4g}, its range is {layout.low[i]:g} to {layout.high[i]:g}"


def name_of(layout: Layout, index: int) -> str:
    """Which number of a vector, by its field."""
    field, where = next((n, s) for n, s in layout.slices.items() if s.start <= index < s.stop)
    return f"{field}[{index - where.start}]" if where.stop - where.start > 1 else field
