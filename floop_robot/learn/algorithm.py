"""Algorithm: what a learner needs of SAC, PPO or another; `floop train` and the fleet use the same."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from floop_robot.learn.mlp import Array
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.hyperparameters import AlgorithmSettings
from floop_robot.spec.records import StreamInfo


class TrainingProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a training; NaN where an algorithm has none."""

    gradient_steps: int = 0
    actor_loss: float = float("nan")
    critic_loss: float = float("nan")
    alpha: float = float("nan")
    entropy: float = float("nan")
    prior_rows: int = 0
    new_rows: int = 0
    stale_rows: int = 0
    """PPO: rows that came too late to be used."""


class AlgorithmState(msgspec.Struct, frozen=True):
    """What an algorithm needs to go on beside `Algorithm.arrays` and the rows that it took in."""

    numbers: dict[str, Any] = {}
    """Counters and generators, as JSON takes them."""
    arrays: dict[str, NDArray[Any]] = {}


class Algorithm(Protocol):
    """Takes in transitions and improves a stable-baselines3 model."""

    @property
    def model(self) -> BaseAlgorithm:
        """The stable-baselines3 model that is trained."""
        ...

    @property
    def algo(self) -> str:
        """`sac` or `ppo`."""
        ...

    @property
    def settings(self) -> AlgorithmSettings:
        """The complete hyper-parameters that act."""
        ...

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        ...

    @property
    def progress(self) -> TrainingProgress:
        """Figures of the training so far."""
        ...

    def take(self, stream: StreamInfo, rows: Transitions | None, ended: Sequence[EndedEpisode] = ()) -> float:
        """Take in rows of a stream, and episodes that ended; returns how many gradient steps the rows pay for."""
        ...

    @property
    def ready(self) -> bool:
        """Whether there is data for a gradient step."""
        ...

    def update(self, most: int) -> int:
        """Do about `most` gradient steps (PPO: one whole update) when `ready`; returns how many were done."""
        ...

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Within it, the model's actor has averaged weights, if the algorithm averages."""
        ...

    def on_weights_published(self, version: int) -> None:
        """Explorers act on live weights `version` from now on."""
        ...

    def arrays(self) -> dict[str, Array]:
        """Everything that training needs to go on, by name; views that are valid until the next call."""
        ...

    def restore(self, arrays: dict[str, Array], gradient_steps: int) -> None:
        """Go on from arrays of `arrays()`; raises `CheckpointRefused` when they don't fit."""
        ...

    def state(self) -> AlgorithmState:
        """Counters and generators, for a training that is gone on with later."""
        ...

    def restore_state(self, state: AlgorithmState) -> None:
        """Go on from a `state()`, after `restore`, once the same rows were taken in again."""
        ...
