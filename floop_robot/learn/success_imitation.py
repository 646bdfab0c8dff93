"""SuccessImitation: behavior cloning of tries that succeeded at new tasks, beside an on-policy algorithm's own updates.

PPO can't learn from tries by analogy, since no density is known for them. They are imitated instead (self-imitation,
Oh et al. 2018).

* Of each class of objects only one way is imitated, the one that succeeds most often. Tries succeed in many ways, and
  the mean of two ways may be none.
* Three quarters of each batch are observations of known tasks, with what the policy that the learner began with does
  there (policy distillation, Rusu et al. 2016; at states that are visited now, as in DAgger, Ross et al. 2011). So
  known tasks are kept. Where a known class in known sizes fails on all robots the world changed, and the old policy is
  no model: with it clones of slow lifts did 85 % of slippery objects, without it 96 %.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from floop_robot.learn.actor_layers import read_actor, write_actor
from floop_robot.learn.adam import FlatAdam
from floop_robot.learn.mlp import Array, StackedMlp, Tape
from floop_robot.learn.ppo import FloopPPO
from floop_robot.learn.spaces import PolicySpace
from floop_robot.monitor.shift_detector import KnownTasks, ShiftDetector
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.hyperparameters import PpoSettings
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.stats.intervals import beta_lower_bound

MAX_OWED = 1_000.0
"""Most gradient steps in one go, about a second. From one way's 16 successes 800 teach as much as 4,000."""
ROWS = 20_000
"""Most rows kept: of tries (a failure counts as `FAILURE_ROWS`), of known tasks, and of episodes whose end is awaited.

Names of classes come from outside, so no bound is for each class alone. The class with most tries gives up its oldest.
"""
ENOUGH, MANY_TRIES = 12, 100
"""Successes of a way before it is imitated. With fewer, the way that looks best is often one of 70 %, and the policy
that it makes keeps gate and robots busy for seconds. An explorer needs a second more for these.

Where no way has as many after `MANY_TRIES` of a class, ways with most successes are enough: tries seldom succeed there.
"""
LATEST = 50
"""Latest tries of a class among which a way must be that is imitated.

Explorers repeat what does best in three of ten tries. What none repeats any more was good in another world.
"""
FAILURE_ROWS = 20
"""About those of a success, though a failure keeps none: a class that never succeeds must not keep 20,000 tries."""
KNOWN_SHARE = 3 / 4
"""Share of a batch that keeps known tasks."""
KEEPING_STEPS = 100
"""At least so many gradient steps follow an update that moved the actor; on known tasks alone where no way is
imitated."""
KNOWN_NOISE = 0.2
"""Standard deviation of the noise on observations of known tasks, normalized. The old policy is asked what it does near
them as well, since the new one won't visit the very same ones."""


class SuccessImitation:
    """Gradient steps toward what is to be done at new tasks and at known ones."""

    def __init__(self, model: FloopPPO, space: PolicySpace, settings: PpoSettings, seed: int) -> None:
        self._model, self._settings = model, settings
        self._episodes = Episodes(space)
        self._old: StackedMlp | None = None
        self._rng = np.random.default_rng((seed, 0x1417))
        self._net, rows = read_actor(model), settings.batch_size
        self._known_rows = min(round(KNOWN_SHARE * rows), rows - 1)
        self._tape, self._old_tape = Tape(self._net, rows), Tape(self._net, self._known_rows)
        self._adam = FlatAdam(self._net.params)
        self._obs: Array = np.zeros((rows, space.observation.size), np.float32)
        self._action: Array = np.zeros((rows, space.action.size), np.float32)
        self._grad: Array = np.zeros((1, rows, space.action.size), np.float32)
        self._owed = 0.0
        self.loss = float("nan")
        """Mean squared error of the latest steps."""

    def take(self, stream: StreamInfo, rows: Transitions | None, ended: Sequence[EndedEpisode]) -> float:
        """Keep rows; returns how many gradient steps they pay for."""
        worth = 0.0
        if rows is not None:
            if self._old is None:  # only now does the model have its weights
                self._old = read_actor(self._model)
            tries = self._episodes.add(stream, rows)
            worth = self._settings.imitation_utd_ratio * tries
            self._owed = min(self._owed + worth, MAX_OWED)
        for end in ended:
            self._episodes.close(stream, end)
        return worth

    @property
    def is_due(self) -> bool:
        """Whether as many rows as an update takes came since the latest imitation, and some way succeeded."""
        due = max(1.0, min(self._settings.imitation_utd_ratio * self._settings.n_steps, MAX_OWED))
        return self._owed >= due and bool(self._episodes.best())

    def update(self, *, moved: bool) -> int:
        """Do the gradient steps that tries paid for, if some way succeeded; returns how many were done.

        In one go, so that the policy that explorers act on changes as seldom as by PPO's own updates. The step size
        falls to 0 meanwhile: what remains is an average of many batches.

        `moved`: whether PPO has just moved the actor. Then known tasks are kept in any case.
        """
        found, known = self._episodes.best(), self._episodes.known()
        steps = int(self._owed) if found else 0
        if moved and self._old is not None and len(known):
            steps = max(steps, KEEPING_STEPS)
        if not steps:
            return 0
        read_actor(self._model, self._net)
        if found:
            self._owed, shown = 0.0, _joined(found)
        else:
            assert self._old is not None
            shown = Rows(known, np.clip(self._old.forward(known, Tape(self._old, len(known)))[0], -1.0, 1.0))
        self.loss = float(np.mean([self._step(shown, known, 1.0 - i / steps) for i in range(steps)]))
        write_actor(self._model, self._net)
        return steps

    def forget_moments(self) -> None:
        """Begin the optimizer anew: the model got other weights."""
        self._adam = FlatAdam(self._net.params)

    def _step(self, shown: Rows, known_obs: Array, rate: float) -> float:
        obs, action = self._obs, self._action
        known = self._known_rows if len(known_obs) else 0
        if self._old is not None and known:
            obs[:known] = known_obs[self._rng.integers(len(known_obs), size=known)]
            obs[:known] += np.float32(KNOWN_NOISE) * self._rng.standard_normal(obs[:known].shape, np.float32)
            action[:known] = np.clip(self._old.forward(obs[:known], self._old_tape)[0], -1.0, 1.0)
        index = self._rng.integers(len(shown.obs), size=len(obs) - known)
        obs[known:], action[known:] = shown.obs[index], shown.action[index]
        error = self._net.forward(obs, self._tape)[0] - action
        np.multiply(error, np.float32(2.0 / error.size), out=self._grad[0])
        self._net.backward(obs, self._grad, self._tape)
        self._adam.step(self._net.grads, self._settings.imitation_learning_rate * rate)
        return float(np.mean(error * error))


class Rows(NamedTuple):
    """Rows of an episode, or of several."""

    obs: Array
    """Shape (rows, obs_size)."""
    action: Array
    """Executed, shape (rows, action_size)."""


class _Try(NamedTuple):
    """A try that ended."""

    way: tuple[float, ...]
    rows: Rows | None
    """Normalized; None if it failed."""


class _Open(NamedTuple):
    """What is known of an episode that goes on."""

    parts: list[Rows]
    """Raw."""
    is_new: bool
    is_try: bool


class Episodes:
    """Tries by class of object, and observations of known tasks; bounded, but for demonstrations."""

    def __init__(self, space: PolicySpace) -> None:
        self._layout, self._normalize = space.observation, space.normalizer
        self._open: OrderedDict[tuple[str, str, int], _Open] = OrderedDict()  # latest last
        self._demonstrated: list[Array] = []
        self._known: deque[Array] = deque()
        """Raw observations, by episode."""
        self._tries: dict[str, deque[_Try]] = {}
        """By class, oldest first."""
        self._best: list[Rows] | None = None
        """What `best` returns; None when it is to be found anew."""
        self._changed = KnownTasks()
        """Classes and sizes of tries at what failed on all robots."""

    def add(self, stream: StreamInfo, rows: Transitions) -> int:
        """Take in rows of episodes that go on; returns how many are of tries at new tasks."""
        if stream.source is Source.DEMONSTRATION:
            self._demonstrated.append(rows.obs)
            return 0
        # The policy's own samples are not imitated: PPO learns from them. Nor is what robots do: the policy does it.
        tried = rows.is_new & ~np.isfinite(rows.log_prob) & (stream.source is Source.EXPLORER)
        for episode in np.unique(rows.episode).tolist():
            chosen = np.flatnonzero(rows.episode == episode)
            key, part = (stream.robot, stream.boot_id, episode), Rows(rows.obs[chosen], rows.action[chosen])
            before = self._open.pop(key, _Open([], is_new=False, is_try=False))
            is_new, is_try = bool(rows.is_new[chosen].any()), bool(tried[chosen].any())
            self._open[key] = _Open([*before.parts, part], before.is_new or is_new, before.is_try or is_try)
        while sum(len(part.obs) for episode in self._open.values() for part in episode.parts) > ROWS:
            self._open.popitem(last=False)  # the end of a killed robot's episode never comes
        return int(tried.sum())

    def close(self, stream: StreamInfo, end: EndedEpisode) -> None:
        """Keep what an episode that ended tells."""
        episode = self._open.pop((stream.robot, stream.boot_id, end.episode), None)
        if episode is None:
            return
        rows = _joined(episode.parts)
        if episode.is_try:
            if end.fails_everywhere:
                self._changed = self._changed.including(KnownTasks.of(self._layout, rows.obs))
            shown = None if end.failed else Rows(self._normalize(rows.obs), rows.action)
            self._tries.setdefault(end.object_class, deque()).append(_Try(end.tried, shown))
            self._best = None
            while sum(map(_size, self._tries.values())) > ROWS:
                fullest = max(self._tries, key=lambda name: _size(self._tries[name]))
                self._tries[fullest].popleft()
                if not self._tries[fullest]:
                    del self._tries[fullest]
        if not episode.is_new:
            self._known.append(rows.obs)
            while sum(map(len, self._known)) > ROWS:
                self._known.popleft()

    def known(self) -> Array:
        """Observations of known tasks, normalized; none if there are none.

        What failed on all robots and was tried is not among them: rows of that class in these sizes.
        """
        parts = [*self._demonstrated, *self._known]
        if not parts:
            return np.zeros((0, 0), np.float32)
        found = np.concatenate(parts)
        if self._changed.classes:
            found = found[ShiftDetector(self._layout, self._changed)(found)]
        return self._normalize(found)

    def best(self) -> list[Rows]:
        """Successes of the best way of each class; of classes with enough."""
        if self._best is None:
            self._best = [rows for tries in self._tries.values() for rows in _best_way(tries)]
        return self._best


def _best_way(tries: deque[_Try]) -> list[Rows]:
    """Successes of the way that surely succeeds most often, of those with enough that are still tried, or none.

    Tries of explorers that do not tell their way are of many: they count as the worst one.
    """
    ways: dict[tuple[float, ...], list[Rows | None]] = {}
    for tried in tries:
        ways.setdefault(tried.way, []).append(tried.rows)
    successes = {way: [rows for rows in found if rows is not None] for way, found in ways.items()}
    tried_now = {tried.way for tried in itertools.islice(reversed(tries), LATEST)}
    most = max(len(successes[way]) for way in tried_now)
    enough = min(ENOUGH, max(most, 1)) if len(tries) >= MANY_TRIES else ENOUGH
    fit = [way for way in ways if way in tried_now and len(successes[way]) >= enough]
    worth = {way: beta_lower_bound(len(successes[way]), len(ways[way])) for way in fit}
    return successes[max(fit, key=lambda way: (bool(way), worth[way]))] if fit else []


def _size(tries: Iterable[_Try]) -> int:
    """Rows that are kept, as `ROWS` counts them."""
    return sum(FAILURE_ROWS if tried.rows is None else len(tried.rows.obs) for tried in tries)


def _joined(parts: Iterable[Rows]) -> Rows:
    obs, action = zip(*parts, strict=True)
    return Rows(np.concatenate(obs), np.concatenate(action))
