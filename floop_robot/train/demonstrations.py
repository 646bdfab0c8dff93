"""Demonstrations: episodes of the scripted expert, and the policy that is cloned from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from floop_envs.seeds import Purpose
from floop_robot.learn.behavior_cloning import clone_into
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import BehaviorCloningSettings
from floop_robot.train.collector import Collector, CollectRequest, episode_range


def record_demonstrations(
    collector: Collector, wanted: int, task: str, on_count: Callable[[int], None]
) -> list[Transitions]:
    """The expert's first `wanted` successful episodes; raises `ConfigError` when it fails too often."""
    recorded: list[Transitions] = []
    index = 0
    while len(recorded) < wanted:
        if index > 4 * wanted + 20:
            raise ConfigError(
                f"only {len(recorded)} of {index} demonstrations of {task} succeeded; train without --demonstrations"
            )
        on_count(len(recorded))
        request = CollectRequest(None, Purpose.DEMONSTRATION, episode_range(index, wanted - len(recorded)), sample=True)
        index += len(request.indices)
        recorded += [episode.rows for episode in collector.make(request) if episode.success]
    return recorded


def clone_demonstrations(
    model: BaseAlgorithm, space: PolicySpace, demonstrations: Sequence[Transitions], settings: BehaviorCloningSettings
) -> None:
    """Fit the model's actor to the demonstrated actions."""
    observations = space.normalizer(np.concatenate([rows.obs for rows in demonstrations]))
    clone_into(model, observations, np.concatenate([rows.action for rows in demonstrations]), settings)
