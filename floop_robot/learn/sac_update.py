"""One SAC update written out in numpy (Haarnoja et al. 2018), equal to stable-baselines3's up to rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from floop_robot.learn.adam import FlatAdam
from floop_robot.learn.mlp import Array, StackedMlp, Tape
from floop_robot.replay.sac_batch import SacBatch

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
SQUASH_EPSILON = 1e-6
"""stable-baselines3 keeps log(1 - tanh²) finite with it; it is part of the log-density both compute."""
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class BatchSource(Protocol):
    """Where batches come from."""

    def fill(self, batch: SacBatch, gamma: float) -> None:
        """Write `obs_act`, the observations of `next_obs_act`, `reward` and `discount`; `success` where it is known."""
        ...


class Losses(NamedTuple):
    """What one update reports."""

    critic: float
    actor: float
    alpha: float
    alpha_loss: float
    entropy: float


@dataclass
class SacParameters:
    """Networks, optimizers and entropy coefficient: everything an update changes."""

    actor: StackedMlp
    """Outputs mean and log standard deviation side by side: sizes[-1] = 2 * action_size."""
    critic: StackedMlp
    """Twin critics: stack 2, sizes[-1] = 1."""
    target: StackedMlp
    log_alpha: Array
    """Shape (1,)."""
    actor_adam: FlatAdam = field(init=False)
    critic_adam: FlatAdam = field(init=False)
    alpha_adam: FlatAdam = field(init=False)

    def __post_init__(self) -> None:
        self.actor_adam, self.critic_adam = FlatAdam(self.actor.params), FlatAdam(self.critic.params)
        self.alpha_adam = FlatAdam(self.log_alpha)

    @classmethod
    def of_shape(
        cls, obs: int, action: int, actor_arch: tuple[int, ...], critic_arch: tuple[int, ...]
    ) -> SacParameters:
        """Zeros of the right shape."""
        critic_sizes = (obs + action, *critic_arch, 1)
        return cls(
            actor=StackedMlp((obs, *actor_arch, 2 * action)),
            critic=StackedMlp(critic_sizes, stack=2),
            target=StackedMlp(critic_sizes, stack=2),
            log_alpha=np.zeros(1, np.float32),
        )


@dataclass(frozen=True)
class SacUpdateSettings:
    """Constants of one update."""

    actor_rate: float
    critic_rate: float
    alpha_rate: float
    tau: float
    target_entropy: float
    fixed_alpha: float | None = None
    """Entropy coefficient that is not learned; None learns it."""
    update_target: bool = True
    value_range: tuple[float, float] | None = None
    """As `SacSettings.value_range`; None, as stock, clips nothing."""
    imitation_weight: float = 0.0
    """As `SacSettings.imitation_weight`: weight of the squared distance, summed over the action's values, from the
    actor's mean to the executed action. 0, as stock, imitates nothing."""
    actor_uses_target_critics: bool = False
    """As `SacSettings.actor_uses_target_critics`, also for what is imitated. False, as stock, uses the critics."""


class SacUpdate:
    """The update for batches of one size; owns the buffers, changes the parameters in place."""

    def __init__(self, parameters: SacParameters, rows: int) -> None:
        self.parameters = parameters
        self.rows = rows
        self.obs_size = parameters.actor.sizes[0]
        self.action_size = parameters.actor.sizes[-1] // 2
        self.batch = SacBatch(rows, self.obs_size, self.action_size)
        self._actor_tape = Tape(parameters.actor, rows)
        self._next_tape = Tape(parameters.actor, rows)
        # Targets are evaluated, used and forgotten before the critics run: one tape, hot in the cache, serves both.
        self._critic_tape = Tape(parameters.critic, rows)
        self._q_grad: Array = np.zeros((2, rows, 1), np.float32)
        self._head_grad: Array = np.zeros((1, rows, 2 * self.action_size), np.float32)
        self._scratch: Array = np.zeros_like(parameters.target.params)
        self._data_action: Array = np.zeros((rows, self.action_size), np.float32)

    def step(self, settings: SacUpdateSettings) -> Losses:
        """Update entropy coefficient, critics, actor and targets on `batch`."""
        p, batch = self.parameters, self.batch
        obs, next_obs = batch.obs_act[:, : self.obs_size], batch.next_obs_act[:, : self.obs_size]
        action, log_prob, head = self._draw(obs, batch.noise[0], self._actor_tape)
        alpha = math.exp(float(p.log_alpha[0])) if settings.fixed_alpha is None else settings.fixed_alpha
        alpha_loss = self._step_alpha(log_prob, settings)

        next_action, next_log_prob, _ = self._draw(next_obs, batch.noise[1], self._next_tape)
        batch.next_obs_act[:, self.obs_size :] = next_action
        next_q = p.target.forward(batch.next_obs_act, self._critic_tape)
        value = np.minimum(next_q[0, :, 0], next_q[1, :, 0])
        value -= np.float32(alpha) * next_log_prob
        value *= batch.discount
        value += batch.reward
        if settings.value_range is not None:
            np.clip(value, np.float32(settings.value_range[0]), np.float32(settings.value_range[1]), out=value)
        critic_loss, data_q = self._step_critic(value, settings)

        if settings.imitation_weight and settings.actor_uses_target_critics:
            data_q = p.target.forward(batch.obs_act, self._critic_tape)[:, :, 0].min(axis=0)
        self._data_action[...] = batch.obs_act[:, self.obs_size :]
        batch.obs_act[:, self.obs_size :] = action
        actor_loss = self._step_actor(obs, action, log_prob, head, data_q, np.float32(alpha), settings)
        if settings.update_target:
            self._update_target(settings.tau)
        return Losses(critic_loss, actor_loss, alpha, alpha_loss, -float(log_prob.mean()))

    def _draw(self, obs: Array, noise: Array, tape: Tape) -> tuple[Array, Array, _Head]:
        out = self.parameters.actor.forward(obs, tape)[0]
        raw_log_std = out[:, self.action_size :]
        log_std = np.clip(raw_log_std, np.float32(LOG_STD_MIN), np.float32(LOG_STD_MAX))
        std = np.exp(log_std)
        spread = std * noise
        action = np.tanh(out[:, : self.action_size] + spread)
        slack = 1.0 - action * action
        density = slack + np.float32(SQUASH_EPSILON)
        terms = -0.5 * (noise * noise) - log_std - np.log(density)
        log_prob = terms.sum(axis=1) - np.float32(_HALF_LOG_2PI * self.action_size)
        return action, log_prob, _Head(out[:, : self.action_size], raw_log_std, spread, slack, density)

    def _step_alpha(self, log_prob: Array, settings: SacUpdateSettings) -> float:
        if settings.fixed_alpha is not None:
            return 0.0
        gap = float(log_prob.mean()) + settings.target_entropy
        loss = -float(self.parameters.log_alpha[0]) * gap
        self.parameters.alpha_adam.step(np.array([-gap], np.float32), settings.alpha_rate)
        return loss

    def _step_critic(self, value: Array, settings: SacUpdateSettings) -> tuple[float, Array]:
        p = self.parameters
        q = p.critic.forward(self.batch.obs_act, self._critic_tape)
        least: Array = q[:, :, 0].min(axis=0)
        np.subtract(q[:, :, 0], value, out=self._q_grad[:, :, 0])
        loss = 0.5 * float(np.vdot(self._q_grad, self._q_grad)) / self.rows
        self._q_grad *= np.float32(1.0 / self.rows)
        p.critic.backward(self.batch.obs_act, self._q_grad, self._critic_tape)
        p.critic_adam.step(p.critic.grads, settings.critic_rate)
        return loss, least

    def _step_actor(
        self,
        obs: Array,
        action: Array,
        log_prob: Array,
        head: _Head,
        data_q: Array,
        alpha: np.float32,
        settings: SacUpdateSettings,
    ) -> float:
        p = self.parameters
        rating = p.target if settings.actor_uses_target_critics else p.critic
        q = rating.forward(self.batch.obs_act, self._critic_tape)[:, :, 0]
        first = q[0] <= q[1]
        scale = np.float32(1.0 / self.rows)
        self._q_grad[0, :, 0] = first * -scale
        self._q_grad[1, :, 0] = ~first * -scale
        hidden_grad = rating.backward(self.batch.obs_act, self._q_grad, self._critic_tape, params=False)
        action_grad = hidden_grad @ rating.input_weight[:, self.obs_size :]
        # d log π / d pre-squash action; the Gaussian term contributes only -1 per log std (its noise is fixed).
        squash = (2.0 * alpha * scale) * action * head.slack / head.density
        mean_grad = action_grad * head.slack + squash
        inside = (head.raw_log_std >= LOG_STD_MIN) & (head.raw_log_std <= LOG_STD_MAX)
        grad = self._head_grad[0]
        grad[:, : self.action_size] = mean_grad
        grad[:, self.action_size :] = (mean_grad * head.spread - alpha * scale) * inside
        if settings.imitation_weight:
            grad[:, : self.action_size] += self._imitation_grad(
                head.mean, data_q > np.where(first, q[0], q[1]), settings.imitation_weight
            )
        p.actor.backward(obs, self._head_grad, self._actor_tape)
        p.actor_adam.step(p.actor.grads, settings.actor_rate)
        return float((alpha * log_prob - np.where(first, q[0], q[1])).mean())

    def _imitation_grad(self, mean: Array, better: Array, weight: float) -> Array:
        """Gradient, for the mean before squashing, of the weighted distance to what was done where it was `better`."""
        squashed = np.tanh(mean)
        pull: Array = squashed - self._data_action
        pull *= 1.0 - squashed * squashed
        pull *= (np.float32(2.0 * weight / self.rows) * self.batch.success * better)[:, None]
        return pull

    def _update_target(self, tau: float) -> None:
        target, critic = self.parameters.target.params, self.parameters.critic.params
        target *= np.float32(1.0 - tau)
        np.multiply(critic, np.float32(tau), out=self._scratch)
        target += self._scratch


class _Head(NamedTuple):
    """What the actor's gradient needs of a draw; each shape (rows, action_size)."""

    mean: Array
    raw_log_std: Array
    spread: Array
    slack: Array
    density: Array
