"""Hindsight: rows of an episode with other goals, those that it did achieve (HER, Andrychowicz et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.replay.transitions import Transitions
from floop_robot.stream.columns import Matrix


class GoalColumns(msgspec.Struct, frozen=True):
    """Where the goals stand in an observation: first column and the one after the last."""

    achieved: tuple[int, int]
    desired: tuple[int, int]


GoalReward = Callable[[Matrix, Matrix], NDArray[np.float32]]
"""Rewards of an episode's rows, shape (n,), for what was achieved and what was desired, shape (n, goal_size) each."""


def relabel(rows: Transitions, goals: GoalColumns, reward_of: GoalReward, rng: np.random.Generator) -> Transitions:
    """The rows of one whole episode, each with the goal that this or a later row achieved (strategy `future`).

    As in stable-baselines3, an episode that ended at its own goal ends there under the new one, too.
    """
    n = len(rows)
    achieved = rows.next_obs[:, slice(*goals.achieved)]
    goal = achieved[rng.integers(np.arange(n), n)]
    obs, next_obs = rows.obs.copy(), rows.next_obs.copy()
    obs[:, slice(*goals.desired)] = next_obs[:, slice(*goals.desired)] = goal
    return Transitions(
        obs=obs,
        action=rows.action,
        action_requested=rows.action_requested,
        next_obs=next_obs,
        reward=reward_of(achieved, goal),
        terminated=rows.terminated,
        episode_end=rows.episode_end,
        log_prob=np.full(n, np.nan, np.float32),
        policy_version=rows.policy_version,
        episode=rows.episode,
        stamp_ns=rows.stamp_ns,
        is_new=rows.is_new,
    )
