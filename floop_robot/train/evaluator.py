"""Evaluator: measures policies while training."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final

from floop_envs.seeds import Purpose
from floop_robot.train.collector import ActorMessage, Collector, CollectRequest, collect_episodes, success_count
from floop_robot.train.score import Score, score_of
from floop_robot.train.train_env import TrainingEnv, TrainingEnvSpec, TrainingEpisode

BATCH: Final = 25
"""Episodes between two looks at whether a measurement may end: half a second's work."""

StopRule = Callable[[int, int], bool]
"""Whether a measurement may end, after so many episodes with so many failures."""


class Evaluator:
    """Runs half of the episodes in this process and half in the collector's."""

    def __init__(self, spec: TrainingEnvSpec, collector: Collector) -> None:
        self._spec, self._collector = spec, collector

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
            self._collector.ask(CollectRequest(actor, purpose, batch[1::2], sample=False))
            here = collect_episodes(self._env, CollectRequest(actor, purpose, batch[::2], sample=False))
            episodes += here + self._collector.receive()
            if is_enough and is_enough(len(episodes), len(episodes) - success_count(episodes)):
                break
        return score_of(episodes)

    @cached_property
    def _env(self) -> TrainingEnv:
        return self._spec.make()
