"""RlpdReplayBuffer: a stable-baselines3 replay buffer that mixes known and new tasks in every batch (RLPD).

Ball et al. 2023, "Efficient Online Reinforcement Learning with Offline Data": with
half of each batch from either side (`prior_fraction`), a policy keeps what it knew while it learns what is new.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from floop_robot.replay.ring_buffer import Normalizer, RingBuffer
from floop_robot.replay.sac_batch import SacBatch
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.stream.columns import Matrix


class RlpdReplayBuffer(ReplayBuffer):
    """Two regions: `prior` (demonstrations and known tasks) and `online` (new tasks)."""

    def __init__(
        self, observation: spaces.Box, action: spaces.Box, normalizer: Normalizer, settings: SacSettings, seed: int
    ) -> None:
        super().__init__(1, observation, action, device="cpu", handle_timeout_termination=False)
        obs_size, action_size = int(np.prod(observation.shape)), int(np.prod(action.shape))
        self.prior = RingBuffer(obs_size, action_size, settings.buffer_size, normalizer)
        self.online = RingBuffer(obs_size, action_size, settings.buffer_size, normalizer)
        self.settings = settings
        self.rng = np.random.default_rng((seed, 0x5A11))
        self._gathered: Matrix = np.zeros((0, 2 * obs_size + action_size + 2), np.float32)
        self._success: Matrix = np.zeros(0, np.float32)

    def size(self) -> int:
        """Rows that batches are drawn from."""
        return len(self.prior) + len(self.online)

    def fill(self, batch: SacBatch, gamma: float) -> None:
        """Draw a batch into arrays the update owns (`learn.sac_update.BatchSource`)."""
        n = self.prior.obs_size
        rows = self._draw(batch.rows)
        width = n + self.prior.action_size
        batch.obs_act[...] = rows[:, :width]
        batch.next_obs_act[:, :n] = rows[:, width : width + n]
        np.multiply(rows[:, -2], np.float32(self.settings.reward_scale), out=batch.reward)
        np.subtract(1.0, rows[:, -1], out=batch.discount)
        batch.discount *= np.float32(gamma)
        batch.success[...] = self._success

    def _draw(self, count: int) -> Matrix:
        if len(self._gathered) != count:
            self._gathered = np.zeros((count, self._gathered.shape[1]), np.float32)
            self._success = np.zeros(count, np.float32)
        share = self.settings.prior_fraction if len(self.online) else 1.0
        prior = round(count * share) if len(self.prior) else 0
        if prior:
            self._success[:prior] = self.prior.draw(prior, 0.0, self.rng, self._gathered[:prior])
        if prior < count:
            rare = self.settings.rare_fraction
            self._success[prior:] = self.online.draw(count - prior, rare, self.rng, self._gathered[prior:])
        return self._gathered

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw a batch as torch tensors, for stable-baselines3's own update."""
        rows = th.from_numpy(self._draw(batch_size).copy())
        o, a = self.prior.obs_size, self.prior.action_size
        obs, action, next_obs = rows[:, :o], rows[:, o : o + a], rows[:, o + a : 2 * o + a]
        return ReplayBufferSamples(obs, action, next_obs, rows[:, -1:], rows[:, -2:-1] * self.settings.reward_scale)

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Refuse single rows; use `extend`."""
        raise TypeError("rows enter a RlpdReplayBuffer through extend(), many at a time")

    def extend(self, robot: str, rows: Transitions, *, prior: bool, boot_id: str = "") -> None:
        """Take in rows of one robot or explorer."""
        (self.prior if prior else self.online).extend(robot, rows, boot_id)

    def close_episode(self, robot: str, boot_id: str, episode: int, *, failed: bool) -> bool:
        """Give an episode its outcome; returns whether any of its rows are of a new task."""
        key = (robot, boot_id, episode)
        self.prior.close(key, failed=failed)
        return self.online.close(key, failed=failed)
