"""SB3 import: a bundle made of a stable-baselines3 zip that takes raw observations.

Zips hold pickles: reading one runs whatever its author put in, hence `trust`.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import PPO, SAC

from floop_robot.bundle import Bundle
from floop_robot.learn.export import UntrustedZip, actor_architecture
from floop_robot.learn.spaces import PolicySpace
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec

CHECKED = 8
"""Observations on which the bundle must act as the zip does."""


def bundle_from_zip(path: Path, task: TaskSpec, ids: Ids, *, trust: bool) -> Bundle:
    """Read a stock SAC or PPO zip for `task`; zips can run code, hence `trust`. Raises `UntrustedZip` in one line."""
    if not trust:
        raise UntrustedZip(f"{path} is a stable-baselines3 zip, which can run code; use --trust if you know its author")
    kind = _kind(path)
    try:
        model = kind.load(path, device="cpu")
        architecture, tensors = actor_architecture(model)
    except (RuntimeError, ValueError, KeyError, OSError, AttributeError, IndexError) as error:
        raise UntrustedZip(f"{path} can't be read: {' '.join(str(error).split())[:200]}") from None
    sizes = (architecture.observation_size, architecture.action_size)
    if sizes != (task.observation.size, task.action.size):
        raise UntrustedZip(
            f"{path} takes {sizes[0]} observations and gives {sizes[1]} actions, {task.id} has "
            f"{task.observation.size} and {task.action.size}; train it on this task"
        )
    weight, bias = PolicySpace.of(task).unfold(tensors["layer0.weight"], tensors["layer0.bias"])
    rng = np.random.default_rng(0)
    low, high = task.observation.offset - task.observation.scale, task.observation.offset + task.observation.scale
    observations = rng.uniform(low, high, (CHECKED, task.observation.size)).astype(np.float32)
    observations = np.clip(observations, task.observation.low, task.observation.high)
    actions, _ = model.predict(observations, deterministic=True)
    return Bundle.build(
        task=task,
        ids=ids,
        algo=kind.__name__.lower(),
        architecture=architecture,
        tensors=tensors | {"layer0.weight": weight, "layer0.bias": bias},
        observations=observations,
        actions=np.clip(actions, -1.0, 1.0),
    )


def _kind(path: Path) -> Any:
    """Which algorithm a zip holds, from its description; nothing of it is unpickled here."""
    try:
        with zipfile.ZipFile(path) as archive:
            module = str(json.loads(archive.read("data"))["policy_class"]["__module__"])
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UntrustedZip(f"{path} is no stable-baselines3 zip ({error}); use one of SAC or PPO") from None
    if ".sac" in module:
        return SAC
    if "ppo" in module or ".common.policies" in module:
        return PPO
    raise UntrustedZip(f"{path} holds a policy of {module}; floop reads SAC and PPO")
