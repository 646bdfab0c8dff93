"""PolicySelector: which weights of a training run are kept, and when they are good enough."""

from __future__ import annotations

import math

import msgspec

from floop_envs.seeds import Purpose
from floop_robot.learn.mlp import Array
from floop_robot.stats.group_sequential import failures_allowed
from floop_robot.train.collector import ActorMessage, episode_range
from floop_robot.train.evaluator import BATCH, Evaluator, StopRule
from floop_robot.train.score import Score, standard_error
from floop_robot.train.train_config import TrainConfig

MAX_TIME_RATIO = 0.81
"""SAC with demonstrations goes on until a success takes at most this share of the cloned policy's time.

Runs level out at 0.77 to 0.82. With 0.79 two of four went on for as long again."""
SELECTION_MARGIN = 1.0
"""Standard errors above `until_success` that the selection scenarios must show before new ones confirm it."""
CONFIRM_REPEATS = 3
"""New scenarios of a confirmation, as a multiple of `selection_episodes`."""
CONFIRM_LOOKS = 8
"""A confirmation may end at so many points at most: at the end, and after about each twelfth of its scenarios."""
FALSE_CONFIRMATIONS = 0.0228
"""A policy that is no better than `until_success` is confirmed with this chance at most (two standard errors).

Where so few scenarios can't show the rate (0.99 takes 376, 0.95 takes 74), a policy that never fails is confirmed.
"""


class Confirmation:
    """Shows on new scenarios that success is above a rate; ends as soon as that is known, or can't be shown."""

    def __init__(self, rate: float, episodes: int) -> None:
        """`episodes`: how many it takes at most."""
        self.episodes = episodes
        parts = 12
        # Only where the evaluator looks: after whole batches, and at the end.
        batches = {-(-episodes * k // (parts * BATCH)) for k in range(parts - CONFIRM_LOOKS + 1, parts + 1)}
        looks = sorted({min(count * BATCH, episodes) for count in batches})
        allowed = failures_allowed(rate, tuple(looks), FALSE_CONFIRMATIONS)
        self._allowed = dict(zip(looks, allowed, strict=True))
        # A rate that so few episodes can't show is shown by none that fails.
        self._allowed[episodes] = max(self._allowed[episodes], 0)
        self.is_shown = False

    def look(self, episodes: int, failures: int) -> bool:
        """Whether it may end, after so many episodes with so many failures."""
        self.is_shown = failures <= self._allowed.get(episodes, -1)
        return self.is_shown or failures > self._allowed[self.episodes]


class SelectorState(msgspec.Struct, frozen=True):
    """What a `PolicySelector` knows, arrays apart."""

    scenarios_used: int
    cloned: Score | None = None
    best: Score | None = None
    leader: Score | None = None


class PolicySelector:
    """Measures policies on selection scenarios and remembers the weights of the best."""

    def __init__(self, config: TrainConfig, evaluator: Evaluator) -> None:
        self._config, self._evaluator = config, evaluator
        self.cloned: Score | None = None
        """Score of the cloned policy, on the selection scenarios."""
        self._scenarios_used = config.selection_episodes
        self.best: tuple[Score, dict[str, Array]] | None = None
        """Score and arrays of the best weights so far."""
        self.leader: tuple[Score, dict[str, Array]] | None = None
        """The same by the short evaluations of an own environment, which rank but don't decide."""

    def state(self) -> tuple[SelectorState, dict[str, Array]]:
        """What it knows, and the arrays of the best and of the leader by `best.NAME` and `leader.NAME`."""
        kept = {"best": self.best, "leader": self.leader}
        arrays = {f"{key}.{name}": array for key, it in kept.items() if it for name, array in it[1].items()}
        scores = {key: it[0] for key, it in kept.items() if it}
        return SelectorState(self._scenarios_used, self.cloned, **scores), arrays

    def restore(self, state: SelectorState, best: dict[str, Array], leader: dict[str, Array]) -> None:
        """Go on from a `state()`."""
        self._scenarios_used, self.cloned = state.scenarios_used, state.cloned
        self.best = (state.best, best) if state.best else None
        self.leader = (state.leader, leader) if state.leader else None

    def evaluate(self, actor: ActorMessage, arrays: dict[str, Array]) -> tuple[Score, bool]:
        """A short measurement of a policy, always on the same scenarios, and whether it leads now."""
        score = self._measure(actor, 0, self._config.n_eval_episodes)
        leads = self.leader is None or score.better_than(self.leader[0], math.inf)
        if leads:
            self.leader = score, {name: array.copy() for name, array in arrays.items()}
        return score, leads

    def measure_cloned(self, actor: ActorMessage) -> None:
        """Measure the cloned policy: what is trained must not fail more often, and must be faster (SAC)."""
        self.cloned = self._measure(actor, 0, self._config.selection_episodes)

    def select(self, actor: ActorMessage, arrays: dict[str, Array], *, reports_success: bool) -> bool:
        """Measure a policy, keep its weights if it is the best; returns whether it is good enough."""
        config = self._config
        score = self._measure(actor, 0, config.selection_episodes, self._is_hopeless if reports_success else None)
        done = False
        if reports_success and self._is_good_enough(score, self._goal()):
            # The best of many measurements on the same scenarios flatters. New scenarios must confirm it.
            confirmation = Confirmation(config.until_success, CONFIRM_REPEATS * config.selection_episodes)
            score = self._measure(actor, self._scenarios_used, confirmation.episodes, confirmation.look)
            self._scenarios_used += confirmation.episodes
            done = confirmation.is_shown and self._is_good_enough(score, self._goal(0.0))
        if self.best is None or score.better_than(self.best[0], self._goal()):
            self.best = score, {name: array.copy() for name, array in arrays.items()}
        return done

    def _measure(self, actor: ActorMessage, first: int, count: int, is_enough: StopRule | None = None) -> Score:
        return self._evaluator.measure(actor, Purpose.SELECTION, episode_range(first, count), is_enough)

    def _is_hopeless(self, episodes: int, failures: int) -> bool:
        """Whether a policy with so many failures can't be good enough, and is no rival of the best.

        After half of the scenarios the first is enough: to rank policies that all fall short, half will do.
        """
        possible = 1.0 - failures / self._config.selection_episodes
        is_ranked = 2 * episodes >= self._config.selection_episodes
        is_worse = self.best is not None and possible < self.best[0].success
        return possible < self._goal() and (is_ranked or is_worse)

    def _is_good_enough(self, score: Score, goal: float) -> bool:
        return score.success >= goal and self._is_fast_enough(score)

    def _goal(self, margin: float = SELECTION_MARGIN) -> float:
        """Success to reach; `margin`: standard errors of the selection scenarios above `until_success`."""
        p, shown = self._config.until_success, self._config.selection_episodes
        goal = p + margin * standard_error(p, shown)
        if self.cloned is not None:  # being faster is no excuse for failing more often than the demonstrations
            p = (shown * self.cloned.success + 1.0) / (shown + 2.0)  # Laplace: 100 of 100 is not certainty
            goal = max(goal, p - standard_error(p, shown))
        return min(goal, 1.0)

    def _is_fast_enough(self, score: Score) -> bool:
        cloned = self.cloned
        if self._config.algo == "ppo" or cloned is None or cloned.time_s is None or score.time_s is None:
            return True
        return score.time_s <= MAX_TIME_RATIO * cloned.time_s
