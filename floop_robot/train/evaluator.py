"""Evaluator: measures policies while training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from floop_envs.seeds import Purpose
from floop_robot.train.collector import ActorMessage, Collector, CollectRequest, success_count
from floop_robot.train.score import Score, score_of
from floop_robot.train.training_episode import TrainingEpisode

BATCH: Final = 25
"""Episodes between two looks at whether a measurement may end: half a second's work."""

StopRule = Callable[[int, int], bool]
"""Whether a measurement may end, after so many episodes with so many failures."""


class Evaluator:
    """Runs episodes in all processes of the collector."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def measure(
        self, actor: ActorMessage, purpose: Purpose, indices: tuple[int, ...], is_enough: StopRule | None = None
    ) -> Score:
        """The score of the policy's mean actions in these episodes; the collector must be idle.

        `is_enough` is asked after each batch, with the numbers of episodes and of failures so far.
        """
        size = BATCH if is_enough else len(indices)
        episodes: list[TrainingEpisode] = []
        for start in range(0, len(indices), size):
            batch = indices[start : start + size]
            episodes += self._collector.make(CollectRequest(actor, purpose, batch, sample=False))
            if is_enough and is_enough(len(episodes), len(episodes) - success_count(episodes)):
                break
        return score_of(episodes)
