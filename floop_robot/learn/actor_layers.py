"""The mean actions of a PPO actor as a numpy network, and back."""

from __future__ import annotations

import torch as th

from floop_robot.learn.export import linears
from floop_robot.learn.mlp import StackedMlp
from floop_robot.learn.ppo import FloopPPO


def read_actor(model: FloopPPO, into: StackedMlp | None = None) -> StackedMlp:
    """The actor's layers as they are now, copied `into` a network of the same shape, or into a new one."""
    layers = _layers(model)
    net = into or StackedMlp((layers[0].in_features, *(layer.out_features for layer in layers)))
    for layer, (weight, bias) in zip(layers, net.views(net.params), strict=True):
        weight[0], bias[0] = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return net


def write_actor(model: FloopPPO, net: StackedMlp) -> None:
    """Copy a network of `read_actor` back into the model."""
    for layer, (weight, bias) in zip(_layers(model), net.views(net.params), strict=True):
        layer.weight.data.copy_(th.from_numpy(weight[0]))
        layer.bias.data.copy_(th.from_numpy(bias[0]))


def _layers(model: FloopPPO) -> list[th.nn.Linear]:
    return [*linears(model.policy.mlp_extractor.policy_net), *linears(model.policy.action_net)]
