"""Behavior cloning: the actor alone, fitted to demonstrated actions in seconds."""

from __future__ import annotations

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from floop_robot.learn.actor_layers import read_actor, write_actor
from floop_robot.learn.adam import FlatAdam
from floop_robot.learn.mlp import Array, StackedMlp, Tape
from floop_robot.learn.ppo import FloopPPO
from floop_robot.learn.sac import FloopSAC
from floop_robot.spec.hyperparameters import BehaviorCloningSettings


def clone(
    net: StackedMlp, observations: Array, actions: Array, settings: BehaviorCloningSettings, *, squash: bool
) -> float:
    """Fit the first `actions.shape[1]` outputs of `net` to demonstrated actions; returns the last mean squared error.

    `observations` are normalized, shape (n, obs_size); `squash` fits tanh of the outputs, as SAC acts.
    Other outputs (log standard deviations) are left as they are.
    """
    rng = np.random.default_rng(0)
    size = min(settings.batch_size, len(observations))
    tape, adam = Tape(net, size), FlatAdam(net.params)
    grad = np.zeros((1, size, net.sizes[-1]), np.float32)
    width = actions.shape[1]
    target = np.clip(actions, -0.999, 0.999) if squash else actions
    batches = max(1, len(observations) // size)
    total = settings.n_epochs * batches
    loss = 0.0
    for step in range(total):
        if step % batches == 0:
            order, loss_sum = rng.permutation(len(observations)), 0.0
        index = order[(step % batches) * size :][:size]
        x = observations[index]
        if settings.noise:
            x = x + settings.noise * rng.standard_normal(x.shape, dtype=np.float32)
        out = net.forward(x, tape)[0, :, :width]
        predicted = np.tanh(out) if squash else out
        error = predicted - target[index]
        grad[0, :, :width] = error * np.float32(2.0 / error.size)
        if squash:
            grad[0, :, :width] *= 1.0 - predicted * predicted
        net.backward(x, grad, tape)
        adam.step(net.grads, settings.learning_rate * (1.0 - step / total))
        loss_sum += float(np.mean(error * error))
        loss = loss_sum / (step % batches + 1)
    return loss


def clone_into(model: BaseAlgorithm, observations: Array, actions: Array, settings: BehaviorCloningSettings) -> float:
    """Fit the actor of a SAC or PPO model to demonstrated actions; see `clone`."""
    if isinstance(model, FloopSAC):
        return clone(model.numpy_parameters().actor, observations, actions, settings, squash=True)
    assert isinstance(model, FloopPPO)
    net = read_actor(model)
    loss = clone(net, observations, actions, settings, squash=False)
    write_actor(model, net)
    return loss
