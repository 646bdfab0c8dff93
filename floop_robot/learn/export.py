"""Export: policy bundles for robots, stable-baselines3 zips for people.

A zip holds a stock model with the normalization folded into its first layers, so it takes raw observations and needs
nothing of floop.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from floop_robot.bundle import Architecture, Bundle, DataRange, write_atomic
from floop_robot.learn.actor_network import actor_network
from floop_robot.learn.mlp import Array
from floop_robot.learn.spaces import PolicySpace
from floop_robot.spec.errors import BundleRefused
from floop_robot.spec.hyperparameters import AlgorithmSettings
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec


def linears(net: nn.Module) -> list[nn.Linear]:
    """The fully connected layers of a network, in order."""
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def actor_architecture(model: BaseAlgorithm) -> tuple[Architecture, dict[str, Array]]:
    """Shape and copied tensors of a model's actor, named as bundles name them."""
    return actor_network(model.policy)


def to_bundle(
    model: BaseAlgorithm,
    task: TaskSpec,
    ids: Ids,
    observations: Array,
    *,
    data: DataRange | None = None,
    parent: int = 0,
    settings: AlgorithmSettings | None = None,
) -> Bundle:
    """A candidate made of the model's actor; `observations`, raw, shape (n, obs_size), become its stored checks.

    The expected actions are torch's own, so a bundle whose numpy actor disagrees with the trained policy is refused.
    """
    architecture, tensors = actor_architecture(model)
    observations = np.asarray(observations, np.float32).reshape(-1, task.observation.size)
    if not all(np.isfinite(array).all() for array in tensors.values()):
        raise BundleRefused("training diverged: the policy's weights hold NaN or infinity; go back to a checkpoint")
    return Bundle.build(
        task=task,
        ids=ids,
        algo=type(model).__name__.removeprefix("Floop").lower(),
        architecture=architecture,
        tensors=tensors,
        observations=observations,
        actions=_mean_actions(model, PolicySpace.of(task).normalizer(observations)),
        data=data,
        parent=parent,
        settings=msgspec.to_builtins(settings) if settings else {},
    )


def _mean_actions(model: BaseAlgorithm, observations: Array) -> Array:
    with th.no_grad():
        actions: Array = model.policy._predict(th.from_numpy(observations), deterministic=True).numpy()
    return actions.clip(-1.0, 1.0)


def save_zip(model: BaseAlgorithm, space: PolicySpace, path: Path) -> None:
    """Write a stock stable-baselines3 zip that takes raw observations and acts as `model` does; whole or not at all.

    Raises `StorageError`.
    """
    file = io.BytesIO()
    stock_model(model, space).save(file)
    write_atomic(path, file.getvalue())


def stock_model(model: BaseAlgorithm, space: PolicySpace) -> BaseAlgorithm:
    """A stock stable-baselines3 model that takes raw observations and acts as `model` does now.

    The global random generators stay as they are: a training that is written more often is the same training.
    """
    with th.random.fork_rng(devices=[]):
        stock = _stock_like(model, space)
    copy_weights(model, stock, space)
    return stock


def copy_weights(model: BaseAlgorithm, stock: BaseAlgorithm, space: PolicySpace) -> None:
    """Let a `stock_model` act as `model` does now."""
    stock.policy.load_state_dict(model.policy.state_dict())
    _each_first_layer(stock, space.fold)
    if isinstance(stock, PPO):
        _stretch_actions(stock, space)
    elif isinstance(stock, SAC) and isinstance(model, SAC) and model.log_ent_coef is not None:
        assert stock.log_ent_coef is not None
        stock.log_ent_coef.data.copy_(model.log_ent_coef.data)


def _stock_like(model: BaseAlgorithm, space: PolicySpace) -> BaseAlgorithm:
    kind: Any = SAC if isinstance(model, SAC) else PPO
    options: dict[str, Any] = {"gamma": model.gamma, "policy_kwargs": model.policy_kwargs, "device": "cpu"}  # type: ignore[attr-defined]
    if isinstance(model, SAC):
        options |= {"tau": model.tau, "batch_size": model.batch_size, "ent_coef": model.ent_coef, "buffer_size": 10_000}
        options["target_entropy"] = model.target_entropy
    else:
        options |= {"gae_lambda": model.gae_lambda, "batch_size": model.batch_size, "n_epochs": model.n_epochs}  # type: ignore[attr-defined]
    observes = space.raw_observation
    if space.native is not None:  # the first layer takes pixels as they are
        options["policy_kwargs"] = {**model.policy_kwargs, "normalize_images": False}
    policy = "MultiInputPolicy" if isinstance(observes, spaces.Dict) else "MlpPolicy"
    stock = kind(policy, None, learning_rate=model.learning_rate, _init_setup_model=False, **options)
    stock.observation_space, stock.action_space, stock.n_envs = observes, space.raw_action, 1
    stock._setup_model()
    assert isinstance(stock, BaseAlgorithm)
    return stock


def _each_first_layer(model: BaseAlgorithm, change: Any) -> None:
    for net in _networks(model):
        first = linears(net)[0]
        weight, bias = change(first.weight.detach().numpy(), first.bias.detach().numpy())
        first.weight.data.copy_(th.from_numpy(weight))
        first.bias.data.copy_(th.from_numpy(bias))


def _networks(model: BaseAlgorithm) -> list[nn.Module]:
    if isinstance(model, SAC):
        return [model.actor.latent_pi, *model.critic.q_networks, *model.critic_target.q_networks]
    extractor = model.policy.mlp_extractor
    assert isinstance(extractor, nn.Module)
    return [extractor.policy_net, extractor.value_net]  # type: ignore[list-item]


def _stretch_actions(model: PPO, space: PolicySpace) -> None:
    # SAC models rescale [-1, 1] to the action space by themselves; PPO models use the environment's units.
    low, high = th.from_numpy(space.action.low), th.from_numpy(space.action.high)
    half, middle = (high - low) / 2.0, (high + low) / 2.0
    layer = model.policy.action_net
    assert isinstance(layer, nn.Linear)
    layer.weight.data.mul_(half[:, None])
    layer.bias.data.mul_(half).add_(middle)
    model.policy.log_std.data.add_(th.log(half))
