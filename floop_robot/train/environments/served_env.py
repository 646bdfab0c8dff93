"""ServedEnv: one environment in a process of its own, as stable-baselines3's `VecEnv` speaks of it. Needs no torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from floop_robot.train.environments.checked_env import CheckedEnv
from floop_robot.train.environments.plain_info import PlainInfo

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
"""Name of a method of `ServedEnv`, and its arguments."""


class ServedEnv:
    """Begins a new episode by itself, and tells return and length of the one that ended as Monitor does."""

    def __init__(self, env_id: str) -> None:
        """Raises `UnknownName` or `ConfigError`."""
        self._env = PlainInfo(CheckedEnv(env_id))
        self._started, self._return, self._steps = time.monotonic(), 0.0, 0

    def spaces(self) -> tuple[Any, Any]:
        """Of observations and actions."""
        return self._env.observation_space, self._env.action_space

    def reset(self, seed: int | None) -> Any:
        """The first observation of a new episode."""
        self._return, self._steps = 0.0, 0
        observation, _ = self._env.reset(seed=seed)
        return observation

    def step(self, action: Any) -> tuple[Any, float, bool, dict[str, Any]]:
        """Observation, reward, end and info; after an end the observation is that of the next episode."""
        observation, reward, terminated, truncated, info = self._env.step(action)
        self._return, self._steps = self._return + reward, self._steps + 1
        info = {**info, "TimeLimit.truncated": truncated and not terminated}
        if terminated or truncated:
            seconds = round(time.monotonic() - self._started, 6)
            info["episode"] = {"r": self._return, "l": self._steps, "t": seconds}
            info["terminal_observation"] = observation
            observation = self.reset(None)
        return observation, reward, terminated or truncated, info

    def call(self, method: str, *values: Any, **named: Any) -> Any:
        """What a method of the environment returns."""
        return self._env.get_wrapper_attr(method)(*values, **named)

    def get(self, name: str) -> Any:
        """An attribute of the environment."""
        return self._env.get_wrapper_attr(name)

    def set(self, name: str, value: Any) -> None:
        """Set an attribute of the environment."""
        setattr(self._env.unwrapped, name, value)


def serve(env_id: str) -> Callable[[Call], Any]:
    """What a process answers calls with."""
    env = ServedEnv(env_id)
    return lambda call: getattr(env, call[0])(*call[1], **call[2])
