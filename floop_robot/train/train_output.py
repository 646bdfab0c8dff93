"""What training leaves behind in its folder: stock model, policy bundle, checkpoint, and the figures of the run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from floop_robot.bundle import SUFFIX, DataRange, write_atomic
from floop_robot.durable.locks import ExclusiveLock
from floop_robot.learn.algorithm import Algorithm
from floop_robot.learn.checkpoint import SUFFIX as CHECKPOINT_SUFFIX
from floop_robot.learn.checkpoint import Checkpoint, CheckpointInfo
from floop_robot.learn.export import save_zip, to_bundle
from floop_robot.learn.mlp import Array
from floop_robot.learn.observation_range import ObservationRange
from floop_robot.learn.spaces import PolicySpace
from floop_robot.monitor.shift_detector import KnownTasks
from floop_robot.replay.packed_episodes import choose_episodes, pack_episodes
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec

CHECK_OBSERVATIONS = 8
"""First observations of the latest episodes. A robot that loads the bundle checks that it acts alike on them."""


@contextmanager
def exclusive_folder(out: Path) -> Iterator[None]:
    """Nobody else trains into this folder meanwhile; raises `StorageError` when somebody does."""
    cure = "wait for it, or choose another --out"
    lock = ExclusiveLock(out / ".lock", f"training folder {out}", cure)
    try:
        yield
    finally:
        lock.release()


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a training; the text says in one line what was kept."""


@contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Ctrl-C within it is raised at its end, so that files that belong together are all written."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `floop train --json` prints."""

    success: float | None
    """Share of the final scenarios, used once; None where an environment does not tell success."""
    mean_pick_time_s: float | None
    bc_success: float | None
    """Share of the selection scenarios, for the policy cloned from the demonstrations; None without demonstrations."""
    bc_pick_time_s: float | None
    mean_return: float
    selection_success: float | None
    transitions: int
    """Made by the learning policy; demonstrations come on top."""
    demonstration_transitions: int
    gradient_steps: int
    wall_s: float
    model: str
    bundle: str
    checkpoint: str


class PolicyPaths(msgspec.Struct, frozen=True):
    """Where the three forms of a policy lie."""

    model: Path
    bundle: Path
    checkpoint: Path


class TrainingDataSummary:
    """What a run trained on, as far as it travels with its policy."""

    def __init__(self, observation_size: int) -> None:
        self._first_obs: list[Array] = []
        self._episodes: list[Transitions] = []
        self._range = ObservationRange(observation_size)

    def take(self, rows: Transitions) -> None:
        """Take in the rows of one episode."""
        self._first_obs.append(rows.obs[0])
        self._episodes.append(rows)
        self._range.extend(rows.obs)

    @property
    def first_observations(self) -> Array:
        """Of every episode, shape (episodes, observation_size)."""
        return np.array(self._first_obs)

    def data_range(self, transitions: int) -> DataRange:
        """Amount and range of the data."""
        return self._range.data_range(transitions)

    def prior(self, count: int, seed: int) -> dict[str, Array]:
        """About `count` rows for a learner that goes on from here."""
        return pack_episodes(choose_episodes(self._episodes, count, np.random.default_rng(seed)))


class PolicyWriter(msgspec.Struct, frozen=True, kw_only=True):
    """Writes a trained policy in its three forms."""

    task: TaskSpec
    ids: Ids
    space: PolicySpace
    prior_rows: int
    seed: int

    def write(self, out: Path, algorithm: Algorithm, summary: TrainingDataSummary, transitions: int) -> PolicyPaths:
        """Write all three to `out`; raises `StorageError` and, for weights that are not finite, `BundleRefused`."""
        paths = PolicyPaths(out / "model.zip", out / f"policy{SUFFIX}", out / f"policy{CHECKPOINT_SUFFIX}")
        observations = summary.first_observations
        with algorithm.averaged_weights():
            save_zip(algorithm.model, self.space, paths.model)
            data = summary.data_range(transitions)
            bundle = to_bundle(
                algorithm.model,
                self.task,
                self.ids,
                observations[-CHECK_OBSERVATIONS:],
                data=data,
                settings=algorithm.settings,
            )
        bundle.save(paths.bundle)
        info = CheckpointInfo(
            task=self.task.id,
            ids=self.ids,
            algo=algorithm.algo,
            hidden=algorithm.hidden,
            gradient_steps=algorithm.progress.gradient_steps,
            transitions=transitions,
            known=KnownTasks.of(self.task.observation, observations),
            settings=msgspec.to_builtins(algorithm.settings),
        )
        with algorithm.averaged_weights():  # a learner that goes on from here starts with the policy that was measured
            Checkpoint(info, algorithm.arrays(), summary.prior(self.prior_rows, self.seed)).save(paths.checkpoint)
        return paths


def save_result(result: TrainResult, out: Path) -> None:
    """Write the figures of the run to `out`; raises `StorageError`."""
    write_atomic(out / "result.json", msgspec.json.encode(result))
