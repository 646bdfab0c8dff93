"""Callbacks of stable-baselines3 in a training of floop: `BaseCallback`, `EvalCallback`, `CheckpointCallback`, lists.

They see a stock model that takes raw observations and acts as the policy does now, so `self.model.predict` and
`self.model.save` work as ever. `on_step` is called once for each environment step, after the steps were made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import floop_envs  # noqa: F401  registers floop's tasks
from floop_robot.learn.export import copy_weights, stock_model
from floop_robot.train.environments.checked_env import CheckedEnv
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.training_episode import TrainingEpisode

if TYPE_CHECKING:
    from floop_robot.train.training_run import TrainingRun

MaybeCallback = None | Callable[..., Any] | list[BaseCallback] | BaseCallback


class CallbackRunner:
    """Calls a callback as stable-baselines3's `learn` does. Use it as a context."""

    def __init__(self, callback: MaybeCallback, run: TrainingRun, config: TrainConfig) -> None:
        self._run, self._config = run, config
        self._model: Any = stock_model(run.algorithm.model, run.space)
        self._model.env = DummyVecEnv([lambda: Monitor(_environment(config))])
        self._model.set_logger(run.algorithm.model.logger)
        self._model.num_timesteps = run.counters.transitions
        self._model._total_timesteps = config.total_timesteps
        self._steps = run.algorithm.progress.gradient_steps
        self._callback: BaseCallback = self._model._init_callback(callback)

    def __enter__(self) -> CallbackRunner:
        names = {"self": self._model, "total_timesteps": self._config.total_timesteps}
        self._callback.on_training_start(names, globals())
        return self

    def __exit__(self, *_: object) -> None:
        self._follow()
        self._callback.on_training_end()
        self._model.env.close()

    def _follow(self) -> None:
        steps = self._run.algorithm.progress.gradient_steps
        if steps != self._steps:
            copy_weights(self._run.algorithm.model, self._model, self._run.space)
            self._model._n_updates = self._steps = steps

    def collected(self, episode: TrainingEpisode) -> bool:
        """Tell of the steps of an episode; False when the callback ends the training."""
        self._follow()
        self._callback.on_rollout_start()
        steps = [self._step(episode, i) for i in range(len(episode.rows))]
        self._callback.on_rollout_end()
        return all(steps)

    def _step(self, episode: TrainingEpisode, i: int) -> bool:
        rows = episode.rows
        info: dict[str, Any] = {}
        done = episode.is_over and i == len(rows) - 1
        if done:
            steps = round(episode.duration_s * self._run.task.policy_rate_hz)
            info["episode"] = {"r": episode.total_reward, "l": steps, "t": self._run.elapsed_s}
            info["terminal_observation"] = rows.next_obs[i]
            info["TimeLimit.truncated"] = not rows.terminated[i]
            if episode.tells_success:
                info["is_success"] = episode.success
        self._model.num_timesteps += 1
        names = {
            "new_obs": rows.next_obs[i : i + 1], "actions": rows.action[i : i + 1], "rewards": rows.reward[i : i + 1],
            "dones": np.array([done]), "infos": [info],
        }  # fmt: skip
        self._callback.update_locals(names)
        return self._callback.on_step()


def _environment(config: TrainConfig) -> gymnasium.Env[Any, Any]:
    return CheckedEnv(config.env) if config.env else gymnasium.make(config.task, robot=config.robot)
