"""Goals of an environment that follows Gymnasium-Robotics' GoalEnv, for hindsight experience replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from floop_robot.replay.hindsight import GoalColumns
from floop_robot.spec.errors import EnvironmentFailed
from floop_robot.stream.columns import Matrix
from floop_robot.train.environments.checked_env import CheckedEnv
from floop_robot.train.environments.error_place import error_line
from floop_robot.train.environments.random_play import RandomPlay

ACHIEVED, DESIRED = "achieved_goal", "desired_goal"


class Goals:
    """Where the goals stand, and the environment's own reward for any of them."""

    def __init__(self, env: CheckedEnv, space: spaces.Box, count: int) -> None:
        self._env, self._space, self.count = env, space, count
        slices = env.reader.slices
        achieved, desired = slices[ACHIEVED], slices[DESIRED]
        self.columns = GoalColumns((achieved.start, achieved.stop), (desired.start, desired.stop))

    @classmethod
    def of(cls, env: CheckedEnv, count: int) -> Goals | None:
        """The goals of an environment, `count` others for each row; None where something is lacking."""
        space = env.reader.parts.get(ACHIEVED)
        return cls(env, space, count) if isinstance(space, spaces.Box) and not lacking(env) else None

    def disagreement(self, play: RandomPlay) -> str:
        """Where `compute_reward` says something else than `step` did, in one line; empty where they agree."""
        seen = np.stack([observation for observation, _, _ in play.steps])
        given = np.array([reward for _, reward, _ in play.steps])
        columns = [slice(*self.columns.achieved), slice(*self.columns.desired)]
        computed = self.rewards(seen[:, columns[0]], seen[:, columns[1]], [info for _, _, info in play.steps])
        if np.allclose(computed, given, rtol=1e-3, atol=1e-3):
            return ""
        worst = int(np.argmax(np.abs(computed - given)))
        return (
            f"{self._env.env_id}: compute_reward says {computed[worst]:g} where step {worst + 1} of random play gave "
            f"{given[worst]:g}; HER learns what is wrong: mend one of them, or set sac.n_sampled_goal=0"
        )

    def rewards(self, achieved: Matrix, desired: Matrix, infos: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
        """`compute_reward` for each row, shape (n,); at once, or row by row where it takes one only."""
        shape, dtype = (-1, *self._space.shape), self._space.dtype
        got, wanted = achieved.reshape(shape).astype(dtype), desired.reshape(shape).astype(dtype)
        compute = self._env.env.get_wrapper_attr("compute_reward")
        try:
            rewards = _at_once(compute, got, wanted, infos)
            if rewards is None:
                rows = zip(got, wanted, infos, strict=True)
                rewards = np.array([np.asarray(compute(a, d, i), np.float32).item() for a, d, i in rows], np.float32)
        except (Exception, SystemExit) as error:
            raise EnvironmentFailed(
                f"{self._env.env_id}: compute_reward(achieved, desired, info) raised {error_line(error)}"
            ) from None
        if not np.isfinite(rewards).all():
            raise EnvironmentFailed(f"{self._env.env_id}: compute_reward returned {rewards[~np.isfinite(rewards)][0]}")
        return rewards


def lacking(env: CheckedEnv) -> str:
    """What keeps an environment from being learned from with other goals; empty where nothing does."""
    parts = env.reader.parts
    for key in (DESIRED, ACHIEVED):
        if not isinstance(parts.get(key), spaces.Box):
            return f"its {key} is {type(parts[key]).__name__}, not Box" if key in parts else f"no {key}"
    if parts[ACHIEVED].shape != parts[DESIRED].shape:
        return f"{ACHIEVED} has shape {parts[ACHIEVED].shape}, {DESIRED} {parts[DESIRED].shape}"
    return "" if env.env.has_wrapper_attr("compute_reward") else "no compute_reward"


def _at_once(
    compute: Any, got: NDArray[Any], wanted: NDArray[Any], infos: Sequence[dict[str, Any]]
) -> NDArray[np.float32] | None:
    """Rewards of all rows by one call, None when it does not take rows: then they go one by one."""
    try:
        rewards = np.asarray(compute(got, wanted, np.array(infos, object)), np.float32)
    except Exception:
        return None
    return rewards if rewards.shape == (len(got),) and len(got) > 1 else None
