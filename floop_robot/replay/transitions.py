"""Transitions: complete transitions as columns, each with the observation that followed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.spec.records import EpisodeEnd, OutcomeCode
from floop_robot.stream.columns import Matrix


class Transitions(msgspec.Struct, frozen=True, kw_only=True):
    """`n` transitions of one stream, oldest first. Observations are raw; fields as in `spec.records.Transition`."""

    obs: Matrix
    """Shape (n, obs_size)."""
    action: Matrix
    """Executed action in [-1, 1], shape (n, action_size)."""
    action_requested: Matrix
    next_obs: Matrix
    """Observation that followed, shape (n, obs_size)."""
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    """No value follows."""
    episode_end: NDArray[np.bool_]
    """Last row of its episode. Never set where the rest of the episode is missing."""
    log_prob: NDArray[np.float32]
    """NaN where the action was not sampled from the policy."""
    policy_version: NDArray[np.int64]
    episode: NDArray[np.int64]
    stamp_ns: NDArray[np.int64]
    is_new: NDArray[np.bool_]
    """True for a new task: one that the policy was not trained on, or a known one that fails now."""

    def __len__(self) -> int:
        return len(self.reward)

    def take(self, index: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Transitions:
        """The rows that `index` selects."""
        return Transitions(**{name: getattr(self, name)[index] for name in self.__struct_fields__})


def concatenate(parts: Sequence[Transitions]) -> Transitions:
    """All rows in one; needs at least one part."""
    return Transitions(
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in Transitions.__struct_fields__}
    )


class EndedEpisode(msgspec.Struct, frozen=True):
    """The outcome of an episode of a stream."""

    episode: int
    failed: bool
    object_class: str = ""
    """Perceived class of the object; empty where none was perceived."""
    tried: tuple[float, ...] = ()
    """What an explorer tried; empty where it was the policy itself."""
    fails_everywhere: bool = False
    """Whether the class fails now, on all robots."""


def ended_episodes(ends: Iterable[EpisodeEnd]) -> tuple[EndedEpisode, ...]:
    """Outcomes that tell something of a policy: aborted episodes are left out."""
    judged = (end for end in ends if end.outcome is not OutcomeCode.ABORTED)
    return tuple(
        EndedEpisode(end.episode, end.outcome is not OutcomeCode.SUCCESS, end.object.object_class, end.tried)
        for end in judged
    )
