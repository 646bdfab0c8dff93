"""The algorithm that settings ask for."""

from __future__ import annotations

from floop_robot.learn.algorithm import Algorithm
from floop_robot.learn.ppo_algorithm import PpoAlgorithm
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.spec.hyperparameters import AlgorithmSettings, PpoSettings


def make_algorithm(space: PolicySpace, settings: AlgorithmSettings, seed: int) -> Algorithm:
    """An untrained algorithm for a policy space."""
    if isinstance(settings, PpoSettings):
        return PpoAlgorithm(space, settings, seed)
    return SacAlgorithm(space, settings, seed)
