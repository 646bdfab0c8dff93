"""ImageEvaluator: measures a model that observes images, on fresh episodes in a process of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from floop_envs.seeds import Purpose, seed_of
from floop_robot.train.environments.process_vec_env import ProcessVecEnv
from floop_robot.train.environments.random_play import reset_seed
from floop_robot.train.score import Score
from floop_robot.train.stop_signals import StopSignals


class ImageEvaluator:
    """Use it as a context."""

    def __init__(self, env_id: str, seed: int, rate_hz: float, stop: StopSignals) -> None:
        self._seed, self._rate_hz, self._stop = seed, rate_hz, stop
        self._env = ProcessVecEnv(env_id, 1)
        self.tells_success = False
        """Whether an episode told success."""

    def __enter__(self) -> ImageEvaluator:
        return self

    def __exit__(self, *_: object) -> None:
        self._env.close()

    def measure(self, model: Any, purpose: Purpose, indices: range) -> Score:
        """The score of the model's mean actions; raises `EnvironmentFailed`, or `KeyboardInterrupt` for a signal."""
        returns, steps_of_successes = list[float](), list[int]()
        for index in indices:
            self._stop.raise_if_received()
            total, steps, is_success = self._episode(model, purpose, index)
            returns.append(total)
            if is_success:
                steps_of_successes.append(steps)
        time_s = float(np.mean(steps_of_successes)) / self._rate_hz if steps_of_successes else None
        return Score(len(steps_of_successes) / len(indices), time_s, float(np.mean(returns)))

    def _episode(self, model: Any, purpose: Purpose, index: int) -> tuple[float, int, bool]:
        """Return, steps and success."""
        seed, name = reset_seed(seed_of(purpose, self._seed, index)), f"{purpose.name.lower()} episode {index}"
        observation, _ = self._call("reset", seed=seed, episode=name)
        total, steps, is_over, info = 0.0, 0, False, dict[str, Any]()
        while not is_over:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, info = self._call("step", action)
            total, steps, is_over = total + reward, steps + 1, terminated or truncated
        self.tells_success |= "is_success" in info
        return total, steps, bool(info.get("is_success", False))

    def _call(self, method: str, *values: Any, **named: Any) -> Any:
        return self._env.env_method(method, *values, **named)[0]
