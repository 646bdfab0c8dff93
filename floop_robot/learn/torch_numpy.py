"""Ties a stable-baselines3 SAC policy to flat numpy vectors: the same memory, seen as torch parameters and as arrays.

Whatever changes one changes the other, so saving, predicting and stock training need no synchronisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from floop_robot.learn.adam import BETA1, BETA2, EPSILON, FlatAdam
from floop_robot.learn.mlp import Array, StackedMlp
from floop_robot.learn.sac_update import SacParameters

Named = tuple[th.Tensor, Array, Array, Array]
"""A torch parameter and where its values and its two Adam moments lie (a target network has no moments: its values)."""


def unsupported(model: SAC) -> str | None:
    """Why the numpy update can't stand in for the stock one, or None if it can."""
    policy, critic = model.policy, model.critic
    checks = (
        (not isinstance(policy, SACPolicy), "the policy is no SACPolicy"),
        (model.device.type != "cpu", "the model is not on the CPU"),
        (model.use_sde, "state-dependent exploration"),
        (not isinstance(model.actor.features_extractor, FlattenExtractor), "a features extractor"),
        (policy.share_features_extractor, "a shared features extractor"),
        (len(critic.q_networks) != 2, "another number of critics than two"),
        (policy.activation_fn is not nn.ReLU, "another activation than ReLU"),
        (not model.actor.net_arch or len(list(_linears(critic.q_networks[0]))) < 2, "no hidden layer"),
        (len(_linears_or_none(model)) > 0, "layers other than Linear and ReLU"),
        (not _plain_adam(model.actor.optimizer) or not _plain_adam(critic.optimizer), "another optimizer than Adam"),
        (any(p.dtype is not th.float32 for p in policy.parameters()), "another precision than float32"),
    )
    return next((reason for bad, reason in checks if bad), None)


def _linears(net: nn.Module) -> Iterator[nn.Linear]:
    return (module for module in net.modules() if isinstance(module, nn.Linear))


def _linears_or_none(model: SAC) -> list[nn.Module]:
    leaves = [m for net in (model.actor, model.critic) for m in net.modules() if not list(m.children())]
    return [m for m in leaves if not isinstance(m, nn.Linear | nn.ReLU | nn.Flatten)]


def _plain_adam(optimizer: th.optim.Optimizer) -> bool:
    if type(optimizer) is not th.optim.Adam or len(optimizer.param_groups) != 1:
        return False
    group = optimizer.param_groups[0]
    plain = not (group["weight_decay"] or group["amsgrad"] or group["maximize"])
    return plain and tuple(group["betas"]) == (BETA1, BETA2) and group["eps"] == EPSILON


class TorchNumpyViews:
    """The numpy side of one model; `is_current` tells whether the model still lives in this memory."""

    def __init__(self, model: SAC) -> None:
        action = int(np.prod(model.action_space.shape or (1,)))
        obs = model.actor.features_dim
        q_linears = list(_linears(model.critic.q_networks[0]))
        arch = tuple(layer.out_features for layer in q_linears[:-1])
        self.parameters = p = SacParameters.of_shape(obs, action, tuple(model.actor.net_arch), arch)
        self._actor = list(_actor_parameters(model, p))
        self._critic = list(_critic_parameters(model.critic, p.critic, p.critic_adam))
        self._target = list(_critic_parameters(model.critic_target, p.target, None))
        self._steps: list[tuple[FlatAdam, Array]] = []
        for parameter, values, _, _ in (*self._actor, *self._critic, *self._target):
            values[...] = parameter.detach().numpy()
            parameter.data = th.from_numpy(values)
        self._share_moments(model.actor.optimizer, self._actor, p.actor_adam)
        self._share_moments(model.critic.optimizer, self._critic, p.critic_adam)
        if model.log_ent_coef is not None and model.ent_coef_optimizer is not None:
            p.log_alpha[...] = model.log_ent_coef.detach().numpy()
            model.log_ent_coef.data = th.from_numpy(p.log_alpha)
            alpha = (model.log_ent_coef, p.log_alpha, p.alpha_adam.mean, p.alpha_adam.square)
            self._share_moments(model.ent_coef_optimizer, [alpha], p.alpha_adam)
        self._marks = self._pointers(model)

    def _share_moments(self, optimizer: th.optim.Optimizer, named: list[Named], adam: FlatAdam) -> None:
        counts = np.zeros(len(named), np.float32)
        for i, (parameter, _, mean, square) in enumerate(named):
            state = optimizer.state[parameter]
            if state:
                mean[...], square[...] = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()
                adam.steps = int(state["step"])
            state["exp_avg"], state["exp_avg_sq"] = th.from_numpy(mean), th.from_numpy(square)
            state["step"] = th.from_numpy(counts[i : i + 1]).reshape(())
        counts[:] = adam.steps
        self._steps.append((adam, counts))

    def read_steps(self) -> None:
        """Take over the step counts of the optimizers: stock training may have gone on meanwhile."""
        for adam, counts in self._steps:
            adam.steps = int(counts[0])

    def write_steps(self) -> None:
        """Write the step counts of the optimizers where torch looks for them."""
        for adam, counts in self._steps:
            counts[:] = adam.steps

    def is_current(self, model: SAC) -> bool:
        """False once something (loading, a copy) gave the model other tensors than the linked ones."""
        return self._marks == self._pointers(model)

    @staticmethod
    def _pointers(model: SAC) -> list[int]:
        # One tensor of each set that is only ever replaced as a whole: asking all of them costs a tenth of an update.
        optimizers = [model.actor.optimizer, model.critic.optimizer]
        if model.ent_coef_optimizer is not None:
            optimizers.append(model.ent_coef_optimizer)
        marks = [id(model.policy), next(model.critic_target.parameters()).data_ptr()]
        for optimizer in optimizers:
            parameter = optimizer.param_groups[0]["params"][0]
            state = optimizer.state.get(parameter)
            marks += [parameter.data_ptr(), state["exp_avg"].data_ptr() if state else 0]
        return marks


def _actor_parameters(model: SAC, p: SacParameters) -> Iterator[Named]:
    flats = (p.actor.params, p.actor_adam.mean, p.actor_adam.square)
    *trunk, head = zip(*(p.actor.views(flat) for flat in flats), strict=True)
    for linear, views in zip(_linears(model.actor.latent_pi), trunk, strict=True):
        yield (linear.weight, *(weight[0] for weight, _ in views))
        yield (linear.bias, *(bias[0] for _, bias in views))
    size = p.actor.sizes[-1] // 2
    for output, part in ((model.actor.mu, slice(0, size)), (model.actor.log_std, slice(size, None))):
        linear = cast(nn.Linear, output)
        yield (linear.weight, *(weight[0, part] for weight, _ in head))
        yield (linear.bias, *(bias[0, part] for _, bias in head))


def _critic_parameters(critic: ContinuousCritic, net: StackedMlp, adam: FlatAdam | None) -> Iterator[Named]:
    flats = (net.params, adam.mean, adam.square) if adam else (net.params, net.params, net.params)
    layers = list(zip(*(net.views(flat) for flat in flats), strict=True))
    for which, q_net in enumerate(critic.q_networks):
        for linear, views in zip(_linears(q_net), layers, strict=True):
            yield (linear.weight, *(weight[which] for weight, _ in views))
            yield (linear.bias, *(bias[which] for _, bias in views))
