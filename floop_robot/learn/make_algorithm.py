"""The algorithm that settings ask for."""

from __future__ import annotations

from floop_robot.learn.algorithm import Algorithm
from floop_robot.learn.device_update import resolve_device
from floop_robot.learn.ppo_algorithm import PpoAlgorithm
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.spec.default_settings import TASK_SAC
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import ENOUGH_ROWS, AlgorithmSettings, PpoSettings
from floop_robot.spec.ranges import Device


def make_algorithm(
    space: PolicySpace,
    settings: AlgorithmSettings,
    seed: int,
    device: Device = "cpu",
    enough_rows: int = ENOUGH_ROWS,
) -> Algorithm:
    """An untrained algorithm for a policy space; SAC's first gradient step waits for `enough_rows`.

    Raises `ConfigError` for a device that it can't compute on.
    """
    if isinstance(settings, PpoSettings):
        if device == "cuda":
            raise ConfigError("device is cuda, but PPO computes on the CPU; use auto or cpu")
        return PpoAlgorithm(space, settings, seed)
    return SacAlgorithm(space, settings, seed, resolve_device(device, settings.over(TASK_SAC).net_arch), enough_rows)
