"""The actor of a stable-baselines3 policy as a bundle describes it: architecture and tensors.

What a bundle can't describe is refused by name: whoever reads a policy must not act on another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import nn

from floop_robot.bundle import Activation, Architecture, Distribution
from floop_robot.learn.mlp import Array
from floop_robot.spec.errors import FloopError

_ACTIVATIONS: dict[type[nn.Module], tuple[Activation, dict[str, object]]] = {
    nn.ReLU: (Activation.RELU, {}),
    nn.Tanh: (Activation.TANH, {}),
    nn.ELU: (Activation.ELU, {"alpha": 1.0}),
    nn.SELU: (Activation.SELU, {}),
    nn.LeakyReLU: (Activation.LEAKY_RELU, {"negative_slope": 0.01}),
    nn.Sigmoid: (Activation.SIGMOID, {}),
    nn.SiLU: (Activation.SILU, {}),
    nn.Softplus: (Activation.SOFTPLUS, {"beta": 1.0, "threshold": 20.0}),
    nn.Mish: (Activation.MISH, {}),
    nn.GELU: (Activation.GELU, {"approximate": "none"}),
}
"""Modules that bundles know, with the options that they must have."""


class UnreadablePolicy(FloopError):
    """A policy that no bundle can describe; one line says what of it."""


def actor_network(policy: BasePolicy) -> tuple[Architecture, dict[str, Array]]:
    """Shape and copied tensors of the actor of a SAC, TD3, DDPG, PPO or A2C policy; raises `UnreadablePolicy`."""
    if isinstance(policy, SACPolicy):
        return _sac(policy)
    if isinstance(policy, TD3Policy):
        _require_flat(policy.actor.features_extractor)
        *hidden, head, _ = policy.actor.mu
        return _network(hidden, head, Distribution.TANH)
    if isinstance(policy, ActorCriticPolicy):
        return _actor_critic(policy)
    raise UnreadablePolicy(f"no bundle can be made of a {type(policy).__name__}; use SAC, PPO, A2C, TD3 or DDPG")


def _sac(policy: SACPolicy) -> tuple[Architecture, dict[str, Array]]:
    actor = policy.actor
    _require_flat(actor.features_extractor)
    if not actor.use_sde:
        architecture, tensors = _network(actor.latent_pi, actor.mu, Distribution.TANH_GAUSSIAN)
        return architecture, tensors | _tensors("log_std", actor.log_std)
    head, limit = (actor.mu[0], actor.clip_mean) if isinstance(actor.mu, nn.Sequential) else (actor.mu, None)
    return _network(actor.latent_pi, head, Distribution.TANH, limit)


def _actor_critic(policy: ActorCriticPolicy) -> tuple[Architecture, dict[str, Array]]:
    _require_flat(policy.pi_features_extractor)
    extractor = policy.mlp_extractor
    if type(extractor) is not MlpExtractor:
        raise UnreadablePolicy(f"its network is a {type(extractor).__name__} of its author; floop reads MlpPolicy only")
    if policy.use_sde:
        squashes = Distribution.TANH if policy.squash_output else Distribution.CLIPPED
        return _network(extractor.policy_net, policy.action_net, squashes)
    architecture, tensors = _network(extractor.policy_net, policy.action_net, Distribution.GAUSSIAN)
    return architecture, tensors | {"log_std": policy.log_std.detach().numpy().copy()}


def _network(
    hidden: Iterable[nn.Module], head: nn.Module, distribution: Distribution, mean_limit: float | None = None
) -> tuple[Architecture, dict[str, Array]]:
    modules = list(hidden)
    layers = [_linear(module) for module in modules[::2]]
    found = {_activation(module) for module in modules[1::2]}
    if len(modules) % 2 or len(found) > 1:
        raise UnreadablePolicy("its layers differ in their activation; floop reads networks with one kind")
    tensors: dict[str, Array] = {}
    for i, layer in enumerate(layers):
        tensors |= _tensors(f"layer{i}", layer)
    tensors |= _tensors("mean", _linear(head))
    first = layers[0] if layers else _linear(head)
    architecture = Architecture(
        observation_size=first.in_features,
        action_size=tensors["mean.bias"].size,
        hidden=tuple(layer.out_features for layer in layers),
        activation=found.pop() if found else Activation.RELU,
        distribution=distribution,
        mean_limit=mean_limit,
    )
    return architecture, tensors


def _linear(module: nn.Module) -> nn.Linear:
    if type(module) is not nn.Linear or module.bias is None:
        raise UnreadablePolicy(f"its network holds {module}; floop reads fully connected layers with a bias")
    return module


def _activation(module: nn.Module) -> Activation:
    known, options = _ACTIVATIONS.get(type(module), (None, {}))
    if known is None or any(getattr(module, name) != value for name, value in options.items()):
        names = ", ".join(kind.__name__ for kind in _ACTIVATIONS)
        raise UnreadablePolicy(f"its activation is {module}; floop reads {names}, with torch's default options")
    return known


def _require_flat(extractor: nn.Module) -> None:
    if type(extractor) is not FlattenExtractor:
        raise UnreadablePolicy(
            f"its features extractor is {type(extractor).__name__}; floop reads policies without one (FlattenExtractor)"
        )


def _tensors(name: str, layer: Any) -> dict[str, Array]:
    return {
        f"{name}.{part}": np.asarray(getattr(layer, part).detach().numpy(), np.float32).copy()
        for part in ("weight", "bias")
    }
