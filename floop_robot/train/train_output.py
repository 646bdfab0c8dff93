"""What training leaves behind in its folder: stock model, policy bundle, checkpoint, and the figures of the run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from floop_robot.bundle import DataRange, write_atomic
from floop_robot.learn.algorithm import Algorithm
from floop_robot.learn.checkpoint import Checkpoint, CheckpointInfo
from floop_robot.learn.export import save_zip, to_bundle
from floop_robot.learn.mlp import Array
from floop_robot.learn.observation_range import ObservationRange
from floop_robot.learn.spaces import PolicySpace
from floop_robot.monitor.shift_detector import KnownTasks
from floop_robot.replay.packed_episodes import choose_episodes, pack_episodes
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.errors import BundleRefused
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec
from floop_robot.train.run_folder import RunFolder

CHECK_OBSERVATIONS = 8
"""First observations of the latest episodes. A robot that loads the bundle checks that it acts alike on them."""


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `floop train --json` prints."""

    success: float | None
    """Share of the final scenarios, used once; None where an environment does not tell success."""
    mean_pick_time_s: float | None
    bc_success: float | None
    """Share of the selection scenarios, for the policy cloned from the demonstrations; None without demonstrations."""
    bc_pick_time_s: float | None
    mean_return: float
    """Mean over the final scenarios."""
    final_episodes: int
    selection_success: float | None
    transitions: int
    """Made by the learning policy; demonstrations come on top."""
    demonstration_transitions: int
    gradient_steps: int
    wall_s: float
    seed: int
    device: str
    """Where gradient steps were computed."""
    ended: str = ""
    """Why it ended; empty in files of before this field."""
    out: str
    model: str
    bundle: str
    checkpoint: str


def save_result(result: TrainResult, path: Path) -> None:
    """Write the figures of a run; raises `StorageError`."""
    write_atomic(path, msgspec.json.encode(result))


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
        """About `count` rows for a learner that goes on from here; none where no episode is that short."""
        chosen = choose_episodes(self._episodes, count, np.random.default_rng(seed))
        return pack_episodes(chosen) if chosen else {}


class PolicyWriter(msgspec.Struct, frozen=True, kw_only=True):
    """Writes a trained policy in its three forms."""

    task: TaskSpec
    ids: Ids
    space: PolicySpace
    prior_rows: int
    seed: int

    def write(self, folder: RunFolder, algorithm: Algorithm, summary: TrainingDataSummary, transitions: int) -> None:
        """Write all three; raises `StorageError`, or `BundleRefused` before anything is written, for bad weights."""
        observations = summary.first_observations
        if not all(np.isfinite(array).all() for array in algorithm.arrays().values()):
            raise BundleRefused("training diverged: critics or optimizers hold NaN or infinity; lower learning_rate")
        with algorithm.averaged_weights():
            data = summary.data_range(transitions)
            bundle = to_bundle(
                algorithm.model,
                self.task,
                self.ids,
                observations[-CHECK_OBSERVATIONS:],
                data=data,
                settings=algorithm.settings,
            )
            save_zip(algorithm.model, self.space, folder.model)
        bundle.save(folder.bundle)
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
            arrays, prior = algorithm.arrays(), summary.prior(self.prior_rows, self.seed)
            Checkpoint(info, arrays, prior).save(folder.checkpoint)
