"""ProcessVecEnv: environments as stable-baselines3 steps them, each in a process of its own.

What an environment prints, breaks or imports never reaches the process that learns; its errors arrive in one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from floop_robot.train.collector_process import CollectorProcess
from floop_robot.train.environments.served_env import serve

Indices = None | int | Iterable[int]
Wrapper = type[gymnasium.Wrapper[Any, Any, Any, Any]]


class ProcessVecEnv(VecEnv):
    """`count` environments of one id. Errors are `FloopError`s. Close it."""

    def __init__(self, env_id: str, count: int) -> None:
        self._processes = [CollectorProcess(serve, (env_id,), f"floop-env-{i}", env_id) for i in range(count)]
        super().__init__(count, *self._ask("spaces")[0])

    def _ask(self, name: str, *values: Any, indices: Indices = None, **named: Any) -> list[Any]:
        chosen = self._chosen(indices)
        for process in chosen:
            process.send((name, values, named))
        return [process.receive() for process in chosen]

    def _chosen(self, indices: Indices) -> list[CollectorProcess]:
        if indices is None:
            return self._processes
        return [self._processes[i] for i in ([indices] if isinstance(indices, int) else indices)]

    def reset(self) -> Any:
        """First observations of new episodes, stacked."""
        for process, seed in zip(self._processes, self._seeds, strict=True):
            process.send(("reset", (seed,), {}))
        self._reset_seeds()
        return _stacked([process.receive() for process in self._processes])

    def step_async(self, actions: NDArray[Any]) -> None:
        """Let each environment act."""
        for process, action in zip(self._processes, actions, strict=True):
            process.send(("step", (action,), {}))

    def step_wait(self) -> Any:
        """What came of it: observations, rewards and ends stacked, and infos."""
        parts = [process.receive() for process in self._processes]
        observations, rewards, dones, infos = zip(*parts, strict=True)
        return _stacked(observations), np.array(rewards, np.float32), np.array(dones), list(infos)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.hang_up()
        for process in self._processes:
            process.join()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """As `VecEnv`."""
        return self._ask("get", attr_name, indices=indices)

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """As `VecEnv`."""
        self._ask("set", attr_name, value, indices=indices)

    def env_method(self, method_name: str, *values: Any, indices: Indices = None, **named: Any) -> list[Any]:
        """As `VecEnv`."""
        return self._ask("call", method_name, *values, indices=indices, **named)

    def env_is_wrapped(self, wrapper_class: Wrapper, indices: Indices = None) -> list[bool]:
        """As `VecEnv`: each tells its episodes as Monitor does."""
        return [issubclass(Monitor, wrapper_class) for _ in self._chosen(indices)]


def _stacked(observations: Sequence[Any]) -> Any:
    first = observations[0]
    if isinstance(first, dict):
        return {key: np.stack([observation[key] for observation in observations]) for key in first}
    return np.stack(observations)
