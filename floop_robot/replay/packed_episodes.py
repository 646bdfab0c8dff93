"""Episodes packed small, to travel with a checkpoint: each observation once, in half precision.

A learner that starts on a fleet's first day has no rows of known tasks. These keep it from forgetting them.
At arm's length half precision errs by 0.25 mm, less than perception does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from floop_robot.replay.transitions import Transitions

PackedEpisodes = dict[str, NDArray[Any]]


def pack_episodes(episodes: Sequence[Transitions]) -> PackedEpisodes:
    """Episodes as arrays: `obs` (rows + episodes), `action`, `reward` (rows); `length`, `terminated` (episodes)."""
    return {
        "obs": _packed(np.concatenate([np.concatenate([e.obs, e.next_obs[-1:]]) for e in episodes])),
        "action": _packed(np.concatenate([e.action for e in episodes])),
        "reward": _packed(np.concatenate([e.reward for e in episodes])),
        "length": np.array([len(e) for e in episodes], np.int32),
        "terminated": np.array([bool(e.terminated[-1]) for e in episodes], np.uint8),
    }


def _packed(values: NDArray[np.float32]) -> NDArray[Any]:
    """In half precision, unless a value is too large for it."""
    fits = np.abs(values).max(initial=0.0) <= float(np.finfo(np.float16).max)
    return values.astype(np.float16) if fits else values


def unpack_episodes(packed: Mapping[str, NDArray[Any]]) -> Transitions:
    """The rows of all packed episodes; raises ValueError or KeyError when the arrays don't belong together."""
    lengths = packed["length"].astype(np.int64)
    total, episodes = int(lengths.sum()), len(lengths)
    obs, action = packed["obs"].astype(np.float32), packed["action"].astype(np.float32)
    if len(obs) != total + episodes or len(action) != total or len(packed["reward"]) != total:
        raise ValueError("the arrays have different lengths")
    first = np.repeat(np.arange(episodes), lengths) + np.arange(total)  # an episode has one observation more than rows
    last = np.cumsum(lengths) - 1
    terminated, episode_end = np.zeros(total, np.bool_), np.zeros(total, np.bool_)
    terminated[last], episode_end[last] = packed["terminated"].astype(np.bool_), True
    return Transitions(
        obs=obs[first],
        action=action,
        action_requested=action,
        next_obs=obs[first + 1],
        reward=packed["reward"].astype(np.float32),
        terminated=terminated,
        episode_end=episode_end,
        log_prob=np.full(total, np.nan, np.float32),
        policy_version=np.zeros(total, np.int64),
        episode=np.repeat(np.arange(episodes), lengths),
        stamp_ns=np.zeros(total, np.int64),
        is_new=np.zeros(total, np.bool_),
    )


def choose_episodes(episodes: Sequence[Transitions], rows: int, rng: np.random.Generator) -> list[Transitions]:
    """Random episodes with at most `rows` rows together; early ones are as likely as late ones."""
    out: list[Transitions] = []
    remaining = rows
    for index in rng.permutation(len(episodes)).tolist():
        if len(episodes[index]) <= remaining:
            out.append(episodes[index])
            remaining -= len(episodes[index])
    return out
