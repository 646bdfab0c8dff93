"""PolicySelector: which weights of a training run are kept, and when they are good enough."""

from __future__ import annotations

from floop_envs.seeds import Purpose
from floop_robot.learn.mlp import Array
from floop_robot.train.collector import ActorMessage, episode_range
from floop_robot.train.evaluator import Evaluator
from floop_robot.train.score import Score, standard_error
from floop_robot.train.train_config import TrainConfig

MAX_TIME_RATIO = 0.81
"""SAC with demonstrations goes on until a success takes at most this share of the cloned policy's time.

Runs level out at 0.77 to 0.82. With 0.79 two of four went on for as long again."""
SELECTION_MARGIN = 1.0
"""Standard errors above `until_success` that the selection scenarios must show before new ones confirm it."""
CONFIRM_REPEATS = 3
"""New scenarios of a confirmation, as a multiple of `selection_episodes`."""
CONFIRM_MARGIN = 2.0
"""Standard errors above `until_success` that a confirmation must show: a policy below it passes once in 40 times."""


class PolicySelector:
    """Measures policies on selection scenarios and remembers the weights of the best."""

    def __init__(self, config: TrainConfig, evaluator: Evaluator) -> None:
        self._config, self._evaluator = config, evaluator
        self._cloned: Score | None = None
        self._scenarios_used = config.selection_episodes
        self.best: tuple[Score, dict[str, Array]] | None = None
        """Score and arrays of the best weights so far."""

    def measure_cloned(self, actor: ActorMessage) -> None:
        """Measure the cloned policy: what is trained must not fail more often, and must be faster (SAC)."""
        self._cloned = self._measure(actor, 0, self._config.selection_episodes)

    def select(self, actor: ActorMessage, arrays: dict[str, Array], *, reports_success: bool) -> bool:
        """Measure a policy, keep its weights if it is the best; returns whether it is good enough."""
        config = self._config
        score = self._measure(actor, 0, config.selection_episodes)
        done = False
        if reports_success and self._is_good_enough(score, self._goal()):
            # The best of many measurements on the same scenarios flatters. New scenarios must confirm it.
            count = CONFIRM_REPEATS * config.selection_episodes
            score = self._measure(actor, self._scenarios_used, count)
            self._scenarios_used += count
            done = self._is_good_enough(score, self._goal(count))
        if self.best is None or score.better_than(self.best[0], self._goal()):
            self.best = score, {name: array.copy() for name, array in arrays.items()}
        return done

    def _measure(self, actor: ActorMessage, first: int, count: int) -> Score:
        return self._evaluator.measure(actor, Purpose.SELECTION, episode_range(first, count))

    def _is_good_enough(self, score: Score, goal: float) -> bool:
        return score.success >= goal and self._is_fast_enough(score)

    def _goal(self, confirming: int = 0) -> float:
        """Success to reach on the selection scenarios, or on `confirming` new ones."""
        p, shown = self._config.until_success, self._config.selection_episodes
        margin = CONFIRM_MARGIN if confirming else SELECTION_MARGIN
        goal = p + margin * standard_error(p, confirming or shown)
        if self._cloned is not None:  # being faster is no excuse for failing more often than the demonstrations
            p = (shown * self._cloned.success + 1.0) / (shown + 2.0)  # Laplace: 100 of 100 is not certainty
            goal = max(goal, p - standard_error(p, shown))
        return min(goal, 1.0)

    def _is_fast_enough(self, score: Score) -> bool:
        cloned = self._cloned
        if self._config.algo == "ppo" or cloned is None or cloned.time_s is None or score.time_s is None:
            return True
        return score.time_s <= MAX_TIME_RATIO * cloned.time_s
