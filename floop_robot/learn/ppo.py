"""FloopPPO: stable-baselines3's PPO, which learns from streamed rows instead of its own rollouts.

The clipped objective needs the density that each action had when it was drawn; rows carry it, with the version of the
acting policy. Advantages are computed from the current value network.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger

from floop_robot.learn.mlp import Array
from floop_robot.replay.transitions import Transitions


class FloopPPO(PPO):
    """PPO whose `learn_from` takes rows. Takes the constructor arguments of `stable_baselines3.PPO`."""

    @classmethod
    def for_spaces(cls, observation: spaces.Box, action: spaces.Box, **options: Any) -> FloopPPO:
        """A model without an environment; `options` as for the constructor."""
        model = cls("MlpPolicy", cast(Any, None), _init_setup_model=False, **options)
        model.observation_space, model.action_space, model.n_envs = observation, action, 1
        model._setup_model()
        model.set_logger(Logger(folder=None, output_formats=[]))
        return model

    def values(self, observations: Array) -> Array:
        """Values, shape (n,), of normalized observations, shape (n, obs_size)."""
        with th.no_grad():
            values: Array = self.policy.predict_values(th.from_numpy(observations)).numpy()[:, 0]
        return values

    def learn_from(self, rows: Transitions) -> int:
        """One PPO update on `n_steps` rows with normalized observations; returns the gradient steps done."""
        buffer = self.rollout_buffer
        if len(rows) != buffer.buffer_size:
            raise ValueError(f"PPO updates on {buffer.buffer_size} rows, got {len(rows)}")
        values = self.values(rows.obs)
        advantages = generalized_advantages(rows, values, self.values(rows.next_obs), self.gamma, self.gae_lambda)
        buffer.reset()
        buffer.observations[:, 0], buffer.actions[:, 0] = rows.obs, rows.action_requested
        buffer.rewards[:, 0], buffer.log_probs[:, 0] = rows.reward, rows.log_prob
        buffer.values[:, 0], buffer.advantages[:, 0] = values, advantages
        buffer.returns[:, 0] = advantages + values
        buffer.pos, buffer.full = buffer.buffer_size, True
        before = self._adam_steps()
        self.train()
        return self._adam_steps() - before

    def _adam_steps(self) -> int:
        states = self.policy.optimizer.state.values()
        return max((int(state["step"]) for state in states), default=0)


def generalized_advantages(rows: Transitions, values: Array, next_values: Array, gamma: float, decay: float) -> Array:
    """Generalized advantage estimates (Schulman et al. 2016), shape (n,), over rows in order.

    Where a row is not continued by the next one (time limit, missing rows, another stream), the value of its next
    observation replaces the later rewards.
    """
    is_continued = np.zeros(len(rows), np.bool_)
    is_continued[:-1] = (rows.next_obs[:-1] == rows.obs[1:]).all(axis=1)
    is_continued[:-1] &= ~rows.episode_end[:-1] & ~rows.terminated[:-1]
    errors = rows.reward + gamma * next_values * ~rows.terminated - values
    decays = gamma * decay * is_continued
    out = np.zeros_like(values)
    running = 0.0
    for i in range(len(rows) - 1, -1, -1):
        running = float(errors[i]) + float(decays[i]) * running
        out[i] = running
    return out
