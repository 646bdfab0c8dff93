"""SuccessImitation: behavior cloning of what succeeded at new tasks, beside an on-policy algorithm's own updates.

PPO can't learn from tries by analogy or from robots' rows, since no density is known for them. Their actions are
imitated instead (self-imitation, Oh et al. 2018). Half of each batch are observations of known tasks with the actions
of the policy that the learner started from, so these are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from floop_robot.learn.actor_layers import read_actor, write_actor
from floop_robot.learn.adam import FlatAdam
from floop_robot.learn.mlp import Array, Tape
from floop_robot.learn.ppo import FloopPPO
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.ring_buffer import RingBuffer
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.hyperparameters import PpoSettings
from floop_robot.spec.records import Source, StreamInfo

MAX_OWED = 4_000.0
"""Most gradient steps in one go, about a second."""
ROWS = 20_000
"""Rows of new tasks kept of each robot or explorer. Old successes go, and slow ones with them."""


class SuccessImitation:
    """Rows of new tasks with the outcome of their episodes, and gradient steps toward the successful ones."""

    def __init__(self, model: FloopPPO, space: PolicySpace, settings: PpoSettings, seed: int) -> None:
        self._model, self._settings, self._normalize = model, settings, space.normalizer
        self._rows = RingBuffer(space.observation.size, space.action.size, ROWS, space.normalizer)
        self._known_obs: Array = np.zeros((0, space.observation.size), np.float32)
        self._known_action: Array = np.zeros((0, space.action.size), np.float32)
        self._rng = np.random.default_rng((seed, 0x1417))
        self._net = read_actor(model)
        self._tape, self._adam = Tape(self._net, settings.batch_size), FlatAdam(self._net.params)
        self._grad: Array = np.zeros((1, settings.batch_size, space.action.size), np.float32)
        self._drawn: Array = np.zeros((settings.batch_size, self._rows.width), np.float32)
        self._owed = 0.0
        self.loss = float("nan")
        """Mean squared error of the latest steps."""

    def take(self, stream: StreamInfo, rows: Transitions | None, ended: Sequence[EndedEpisode]) -> float:
        """Keep rows; returns how many gradient steps they pay for."""
        worth = 0.0
        if rows is not None and stream.source is Source.DEMONSTRATION:
            self._known_obs = self._normalize(rows.obs)
            self._known_action = self._act(self._known_obs)
        elif rows is not None:
            new = rows.take(rows.is_new & ~np.isfinite(rows.log_prob))
            if len(new):
                self._rows.extend(stream.robot, new, stream.boot_id)
            worth = self._settings.imitation_utd_ratio * len(new)
            self._owed = min(self._owed + worth, MAX_OWED)
        for end in ended:
            self._rows.close((stream.robot, stream.boot_id, end.episode), failed=end.failed)
        return worth

    @property
    def is_due(self) -> bool:
        """Whether as many rows as an update takes came since the latest imitation, and some succeeded."""
        return self._owed >= self._settings.imitation_utd_ratio * self._settings.n_steps and self._rows.successes > 0

    def update(self) -> int:
        """Do the gradient steps that rows paid for, if anything succeeded; returns how many were done.

        In one go, so that the policy that explorers act on changes as seldom as by PPO's own updates. The step size
        falls to 0 meanwhile: what remains is an average of many batches.
        """
        steps, self._owed = int(self._owed), 0.0
        if not steps or not self._rows.successes:
            return 0
        read_actor(self._model, self._net)
        self.loss = float(np.mean([self._step(1.0 - i / steps) for i in range(steps)]))
        write_actor(self._model, self._net)
        return steps

    def _step(self, rate: float) -> float:
        n, a = self._rows.obs_size, self._rows.action_size
        batch = self._drawn
        known = len(batch) // 2 if len(self._known_obs) else 0
        index = self._rng.integers(max(len(self._known_obs), 1), size=known)
        batch[:known, :n], batch[:known, n : n + a] = self._known_obs[index], self._known_action[index]
        self._rows.draw_successes(self._rng, batch[known:])
        out = self._net.forward(batch[:, :n], self._tape)[0]
        error = out - batch[:, n : n + a]
        np.multiply(error, np.float32(2.0 / error.size), out=self._grad[0])
        self._net.backward(batch[:, :n], self._grad, self._tape)
        self._adam.step(self._net.grads, self._settings.imitation_learning_rate * rate)
        return float(np.mean(error * error))

    def _act(self, observations: Array) -> Array:
        net = read_actor(self._model)
        out: Array = net.forward(observations, Tape(net, len(observations)))[0]
        return np.clip(out, -1.0, 1.0)
