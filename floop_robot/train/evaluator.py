"""Evaluator: measures policies while training."""

from __future__ import annotations

from functools import cached_property

from floop_envs.seeds import Purpose
from floop_robot.train.collector import ActorMessage, Collector, CollectRequest, collect_episodes
from floop_robot.train.score import Score, score_of
from floop_robot.train.train_env import TrainingEnv, TrainingEnvSpec


class Evaluator:
    """Runs half of the episodes in this process and half in the collector's."""

    def __init__(self, spec: TrainingEnvSpec, collector: Collector) -> None:
        self._spec, self._collector = spec, collector

    def measure(self, actor: ActorMessage, purpose: Purpose, indices: tuple[int, ...]) -> Score:
        """The score of the policy's mean actions in these episodes; the collector must be idle."""
        self._collector.ask(CollectRequest(actor, purpose, indices[1::2], sample=False))
        here = collect_episodes(self._env, CollectRequest(actor, purpose, indices[::2], sample=False))
        return score_of(here + self._collector.receive())

    @cached_property
    def _env(self) -> TrainingEnv:
        return self._spec.make()
