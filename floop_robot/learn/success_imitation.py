"""SuccessImitation: behavior cloning of what succeeded at new tasks, beside an on-policy algorithm's own updates.

PPO can't learn from tries by analogy or from robots' rows, since no density is known for them. Their actions are
imitated instead (self-imitation, Oh et al. 2018).

* Of the successful episodes only the half is imitated that the policy agrees with most. Tries succeed in many ways, and
  the mean of two ways may be none.
* Half of each batch are observations of known tasks, from robots and explorers too, with what the policy that the
  learner started from does there (policy distillation, Rusu et al. 2016; on states that are visited now: DAgger, Ross
  et al. 2011). So known tasks are kept.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from floop_robot.learn.actor_layers import read_actor, write_actor
from floop_robot.learn.adam import FlatAdam
from floop_robot.learn.mlp import Array, StackedMlp, Tape
from floop_robot.learn.ppo import FloopPPO
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.ring_buffer import Normalizer
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.hyperparameters import PpoSettings
from floop_robot.spec.records import Source, StreamInfo

MAX_OWED = 4_000.0
"""Most gradient steps in one go, about a second."""
ROWS = 20_000
"""Latest rows kept: of successes at new tasks, and of known tasks."""
MAX_OPEN = 1024
"""Episodes whose end is awaited. Bounded: the end of a killed robot's episode never comes."""
AGREED_SHARE = 0.5
"""Share of the successful episodes that is imitated: those whose actions are nearest to the policy's."""
ENOUGH_EPISODES = 20
"""With fewer successes than this, all are imitated."""
KNOWN_NOISE = 0.1
"""Standard deviation of the noise on observations of known tasks, normalized. The old policy is asked what it does near
them as well, since the new one won't visit the very same ones."""


class SuccessImitation:
    """Successes at new tasks, observations of known ones, and gradient steps toward what is to be done at both."""

    def __init__(self, model: FloopPPO, space: PolicySpace, settings: PpoSettings, seed: int) -> None:
        self._model, self._settings, self._normalize = model, settings, space.normalizer
        self._successes = _Successes()
        self._known: Array = np.zeros((0, space.observation.size), np.float32)
        self._old: StackedMlp | None = None
        self._rng = np.random.default_rng((seed, 0x1417))
        self._net = read_actor(model)
        self._tape, self._adam = Tape(self._net, settings.batch_size), FlatAdam(self._net.params)
        self._old_tape = Tape(self._net, settings.batch_size // 2)
        self._obs: Array = np.zeros((settings.batch_size, space.observation.size), np.float32)
        self._action: Array = np.zeros((settings.batch_size, space.action.size), np.float32)
        self._grad: Array = np.zeros((1, settings.batch_size, space.action.size), np.float32)
        self._owed = 0.0
        self.loss = float("nan")
        """Mean squared error of the latest steps."""

    def take(self, stream: StreamInfo, rows: Transitions | None, ended: Sequence[EndedEpisode]) -> float:
        """Keep rows; returns how many gradient steps they pay for."""
        worth = 0.0
        if rows is not None:
            is_demonstration = stream.source is Source.DEMONSTRATION
            if is_demonstration:
                self._old = read_actor(self._model)
            known = rows.obs if is_demonstration else rows.obs[~rows.is_new]
            self._known = np.concatenate([self._known, self._normalize(known)])[-ROWS:]
            # Imitating the policy's own samples as well was no better: they are noisy, and PPO learns from them.
            new = rows.is_new & ~np.isfinite(rows.log_prob) & (not is_demonstration)
            if new.any():
                self._successes.add(stream, rows.take(new), self._normalize)
            worth = self._settings.imitation_utd_ratio * int(new.sum())
            self._owed = min(self._owed + worth, MAX_OWED)
        for end in ended:
            self._successes.close(stream, end)
        return worth

    @property
    def is_due(self) -> bool:
        """Whether as many rows as an update takes came since the latest imitation, and some succeeded."""
        return self._owed >= self._settings.imitation_utd_ratio * self._settings.n_steps and bool(self._successes)

    def update(self) -> int:
        """Do the gradient steps that rows paid for, if anything succeeded; returns how many were done.

        In one go, so that the policy that explorers act on changes as seldom as by PPO's own updates. The step size
        falls to 0 meanwhile: what remains is an average of many batches.
        """
        steps, self._owed = int(self._owed), 0.0
        if not steps or not self._successes:
            return 0
        read_actor(self._model, self._net)
        shown = self._successes.agreed(self._net)
        self.loss = float(np.mean([self._step(shown, 1.0 - i / steps) for i in range(steps)]))
        write_actor(self._model, self._net)
        return steps

    def _step(self, shown: _Episode, rate: float) -> float:
        obs, action = self._obs, self._action
        known = len(obs) // 2 if self._old is not None and len(self._known) else 0
        if self._old is not None and known:
            obs[:known] = self._known[self._rng.integers(len(self._known), size=known)]
            obs[:known] += np.float32(KNOWN_NOISE) * self._rng.standard_normal(obs[:known].shape, np.float32)
            action[:known] = np.clip(self._old.forward(obs[:known], self._old_tape)[0], -1.0, 1.0)
        index = self._rng.integers(len(shown.obs), size=len(obs) - known)
        obs[known:], action[known:] = shown.obs[index], shown.action[index]
        error = self._net.forward(obs, self._tape)[0] - action
        np.multiply(error, np.float32(2.0 / error.size), out=self._grad[0])
        self._net.backward(obs, self._grad, self._tape)
        self._adam.step(self._net.grads, self._settings.imitation_learning_rate * rate)
        return float(np.mean(error * error))


class _Episode(NamedTuple):
    """Rows of an episode, or of several."""

    obs: Array
    """Normalized."""
    action: Array
    """Executed."""


class _Successes:
    """Successful episodes, the latest `ROWS` rows; and those whose end is awaited."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str, int], list[_Episode]] = OrderedDict()  # latest last
        self._ended: deque[_Episode] = deque()
        self._rows = 0

    def __bool__(self) -> bool:
        return bool(self._ended)

    def add(self, stream: StreamInfo, rows: Transitions, normalize: Normalizer) -> None:
        """Take in rows of episodes that go on."""
        for episode in np.unique(rows.episode).tolist():
            chosen = rows.take(rows.episode == episode)
            key = (stream.robot, stream.boot_id, episode)
            self._open.setdefault(key, []).append(_Episode(normalize(chosen.obs), chosen.action))
            self._open.move_to_end(key)
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)

    def close(self, stream: StreamInfo, end: EndedEpisode) -> None:
        """Keep the episode if it succeeded; the oldest ones beyond `ROWS` go."""
        parts = self._open.pop((stream.robot, stream.boot_id, end.episode), [])
        if end.failed or not parts:
            return
        self._ended.append(_joined(parts))
        self._rows += len(self._ended[-1].obs)
        while self._rows > ROWS and len(self._ended) > 1:
            self._rows -= len(self._ended.popleft().obs)

    def agreed(self, net: StackedMlp) -> _Episode:
        """Rows of the episodes that `net` agrees with most; there must be some."""
        every = _joined(self._ended)
        if len(self._ended) < ENOUGH_EPISODES:
            return every
        lengths = [len(episode.obs) for episode in self._ended]
        error = np.square(net.forward(every.obs, Tape(net, len(every.obs)))[0] - every.action).sum(axis=1)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        means = np.add.reduceat(error, starts) / lengths
        nearest: NDArray[np.int64] = np.argsort(means)[: round(AGREED_SHARE * len(lengths))]
        return _joined([self._ended[i] for i in nearest])


def _joined(episodes: Iterable[_Episode]) -> _Episode:
    obs, action = zip(*episodes, strict=True)
    return _Episode(np.concatenate(obs), np.concatenate(action))
