"""The SAC update on a GPU: the same steps as `sac_update.py` in torch, replayed as a CUDA graph.

Networks of a fleet's size are quicker on one core. Larger ones are not: a GPU hardly notices (256, 256).
It also runs on torch's CPU device, without a graph. That is slow, and lets tests compare it where there is no GPU.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch as th

from floop_robot.learn.adam import BETA1, BETA2, EPSILON, FlatAdam
from floop_robot.learn.mlp import Array, StackedMlp
from floop_robot.learn.sac_update import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    SQUASH_EPSILON,
    Losses,
    SacParameters,
    SacUpdate,
    SacUpdateSettings,
)
from floop_robot.replay.sac_batch import SacBatch
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.ranges import Device

log = logging.getLogger(__name__)

LEAST_UNITS = 128
"""`auto` takes a GPU for networks with a hidden layer of so many units. An estimate: no GPU was there to measure it."""
WARM_UP_STEPS = 3
"""Steps before a graph is captured, as torch asks for."""
TOLERANCE = 1e-3
"""Relative difference of losses from numpy's that `agrees` allows; different orders of summing give some 1e-6."""
T = TypeVar("T")
CHECKED_STEPS = 3
"""Steps whose losses and parameters `agrees` compares."""
_BATCH = ("obs_act", "next_obs_act", "reward", "discount", "success", "noise")


def resolve_device(device: Device, hidden: tuple[int, ...]) -> str:
    """Torch's name of the device for networks of these layers; raises `ConfigError` for a GPU that is not there."""
    if device == "auto":
        return "cuda" if max(hidden, default=0) >= LEAST_UNITS and th.cuda.is_available() else "cpu"
    if device == "cuda" and not th.cuda.is_available():
        raise ConfigError(f"device is cuda, but torch {th.__version__} finds no GPU here; use auto or cpu")
    return device


class _Kind(NamedTuple):
    """What decides which operations an update has: there is one graph for each kind."""

    learns_alpha: bool
    updates_target: bool
    imitates: bool
    actor_uses_target_critics: bool

    @classmethod
    def of(cls, s: SacUpdateSettings) -> _Kind:
        return cls(s.fixed_alpha is None, s.update_target, s.imitation_weight > 0.0, s.actor_uses_target_critics)


class _Scalars(NamedTuple, Generic[T]):
    """What may differ from step to step, in the order in which it lies in one vector."""

    actor_rate: T
    actor_correction: T
    critic_rate: T
    critic_correction: T
    alpha_rate: T
    alpha_correction: T
    tau: T
    target_entropy: T
    fixed_alpha: T
    lowest: T
    highest: T
    imitation_weight: T


class _Net:
    """A `StackedMlp` on the device."""

    def __init__(self, net: StackedMlp, device: th.device) -> None:
        self.flat = th.zeros(len(net.params), device=device)
        self._leaves: list[th.Tensor] = []
        start = 0
        for array in (array for layer in net.views(net.params) for array in layer):
            leaf = self.flat[start : start + array.size].view(array.shape)
            self._leaves.append(leaf.detach().requires_grad_())
            start += array.size

    def __call__(self, x: th.Tensor) -> th.Tensor:
        """Outputs, shape (stack, rows, sizes[-1]), for `x`, shape (rows, sizes[0])."""
        out, last = x[None], len(self._leaves) - 2
        for i in range(0, len(self._leaves), 2):
            out = out @ self._leaves[i].transpose(1, 2) + self._leaves[i + 1][:, None, :]
            out = th.relu(out) if i < last else out
        return out

    def gradient(self, loss: th.Tensor) -> th.Tensor:
        """Gradient of `loss`, shape as `flat`."""
        return th.cat([grad.reshape(-1) for grad in th.autograd.grad(loss, self._leaves)])


class _Adam:
    """`FlatAdam` on the device, whose bias corrections come from outside: a graph cannot count."""

    def __init__(self, adam: FlatAdam, device: th.device) -> None:
        self.mean, self.square = (th.zeros(len(adam.params), device=device) for _ in range(2))

    def step(self, params: th.Tensor, grads: th.Tensor, rate: th.Tensor, correction: th.Tensor) -> None:
        self.mean.lerp_(grads, 1.0 - BETA1)
        self.square.mul_(BETA2).addcmul_(grads, grads, value=1.0 - BETA2)
        params.sub_(rate * self.mean / (self.square.sqrt() * correction + EPSILON))


class DeviceSacUpdate:
    """As `SacUpdate`; `step` needs `loaded`."""

    def __init__(self, parameters: SacParameters, rows: int, device: str) -> None:
        p, self._device = parameters, th.device(device)
        self.parameters, self.rows = p, rows
        self._obs_size, self._action_size = p.actor.sizes[0], p.actor.sizes[-1] // 2
        self.batch = SacBatch(rows, self._obs_size, self._action_size)
        self._inputs = {name: th.zeros(getattr(self.batch, name).shape, device=self._device) for name in _BATCH}
        self._actor, self._critic, self._target = (_Net(net, self._device) for net in (p.actor, p.critic, p.target))
        self._log_alpha = th.zeros(1, device=self._device)
        adams = (p.actor_adam, p.critic_adam, p.alpha_adam)
        self._adams = [(host, _Adam(host, self._device)) for host in adams]
        self._scalars = th.zeros(len(_Scalars._fields), device=self._device)
        self._losses = th.zeros(len(Losses._fields), device=self._device)
        self._graphs: dict[_Kind, th.cuda.CUDAGraph] = {}

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """Within it, the parameters are on the device; afterwards they are back."""
        with th.no_grad():
            for host, device in self._pairs():
                device.copy_(th.from_numpy(host))
        yield
        with th.no_grad():
            for host, device in self._pairs():
                th.from_numpy(host).copy_(device)

    def step(self, settings: SacUpdateSettings) -> Losses:
        """Update entropy coefficient, critics, actor and targets on `batch`."""
        kind = _Kind.of(settings)
        if self._device.type == "cuda" and kind not in self._graphs:
            self._capture(kind)
        for name, tensor in self._inputs.items():
            tensor.copy_(th.from_numpy(getattr(self.batch, name)))
        self._scalars.copy_(th.tensor(self._next_scalars(settings)))
        if kind in self._graphs:
            self._graphs[kind].replay()
        else:
            self._compute(kind)
        return Losses(*self._losses.tolist())

    def _pairs(self) -> list[tuple[Array, th.Tensor]]:
        p = self.parameters
        nets = zip((p.actor, p.critic, p.target), (self._actor, self._critic, self._target), strict=True)
        moments = [pair for host, on in self._adams for pair in ((host.mean, on.mean), (host.square, on.square))]
        return [*((net.params, on.flat) for net, on in nets), (p.log_alpha, self._log_alpha), *moments]

    def _next_scalars(self, s: SacUpdateSettings) -> list[float]:
        """The values of `_Scalars`; counts the step."""
        rates = s.actor_rate, s.critic_rate, s.alpha_rate
        steps = []
        for (host, _), rate, moves in zip(self._adams, rates, (True, True, s.fixed_alpha is None), strict=True):
            host.steps += moves
            count = max(1, host.steps)
            steps += [rate / (1.0 - BETA1**count), 1.0 / math.sqrt(1.0 - BETA2**count)]
        low, high = s.value_range or (-math.inf, math.inf)
        return [*steps, s.tau, s.target_entropy, s.fixed_alpha or 0.0, low, high, s.imitation_weight]

    def _capture(self, kind: _Kind) -> None:
        """Record the operations of one kind of update. What they change meanwhile is put back."""
        before = [device.clone() for _, device in self._pairs()]
        side: th.cuda.Stream = th.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(th.cuda.current_stream())
        with th.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self._compute(kind)
        th.cuda.current_stream().wait_stream(side)
        graph = th.cuda.CUDAGraph()
        with th.cuda.graph(graph):
            self._compute(kind)
        for (_, device), saved in zip(self._pairs(), before, strict=True):
            device.copy_(saved)
        self._graphs[kind] = graph

    def _compute(self, kind: _Kind) -> None:
        """One update on the inputs; every result is written in place."""
        i, now = self._inputs, _Scalars[th.Tensor](*self._scalars)
        obs, next_obs = i["obs_act"][:, : self._obs_size], i["next_obs_act"][:, : self._obs_size]
        mean, action, log_prob = self._draw(obs, i["noise"][0])
        alpha = self._log_alpha.exp() if kind.learns_alpha else now.fixed_alpha.expand(1)
        gap = (log_prob.detach().mean() + now.target_entropy).reshape(1)
        alpha_loss = -self._log_alpha * gap if kind.learns_alpha else th.zeros_like(alpha)
        if kind.learns_alpha:
            self._adams[2][1].step(self._log_alpha, -gap, now.alpha_rate, now.alpha_correction)

        with th.no_grad():
            _, next_action, next_log_prob = self._draw(next_obs, i["noise"][1])
            next_q = self._target(th.cat([next_obs, next_action], 1))[:, :, 0].amin(0)
            value = i["reward"] + i["discount"] * (next_q - alpha * next_log_prob)
            value = th.minimum(th.maximum(value, now.lowest), now.highest)
        q = self._critic(i["obs_act"])[:, :, 0]
        critic_loss = 0.5 * ((q - value) ** 2).mean(1).sum()
        self._move(self._critic, critic_loss, 1, now.critic_rate, now.critic_correction)

        rating = self._target if kind.actor_uses_target_critics else self._critic
        ours = rating(th.cat([obs, action], 1))[:, :, 0].amin(0)
        actor_loss = (alpha * log_prob - ours).mean()
        total = actor_loss
        if kind.imitates:
            with th.no_grad():
                rated = self._target(i["obs_act"])[:, :, 0] if kind.actor_uses_target_critics else q
                imitated = i["success"] * (rated.amin(0) > ours)
            apart = (th.tanh(mean) - i["obs_act"][:, self._obs_size :]) ** 2
            total = total + now.imitation_weight * (imitated * apart.sum(1)).mean()
        self._move(self._actor, total, 0, now.actor_rate, now.actor_correction)
        with th.no_grad():
            if kind.updates_target:
                self._target.flat.lerp_(self._critic.flat, now.tau)
            entropy = -log_prob.mean()
            found = (critic_loss, actor_loss, alpha, alpha_loss, entropy)
            self._losses.copy_(th.cat([loss.reshape(1) for loss in found]))

    def _draw(self, obs: th.Tensor, noise: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Mean before squashing, action and its log-density."""
        out = self._actor(obs)[0]
        mean, log_std = out[:, : self._action_size], out[:, self._action_size :].clamp(LOG_STD_MIN, LOG_STD_MAX)
        action = th.tanh(mean + log_std.exp() * noise)
        terms = -0.5 * noise**2 - log_std - th.log(1.0 - action**2 + SQUASH_EPSILON)
        return mean, action, terms.sum(1) - 0.5 * math.log(2.0 * math.pi) * self._action_size

    def _move(self, net: _Net, loss: th.Tensor, which: int, rate: th.Tensor, correction: th.Tensor) -> None:
        gradient = net.gradient(loss)
        with th.no_grad():
            self._adams[which][1].step(net.flat, gradient, rate, correction)


def agrees(parameters: SacParameters, rows: int, device: str, settings: SacUpdateSettings) -> bool:
    """Whether a few steps on the device do here what numpy does: a driver or a torch of another version may not.

    Works on copies of the parameters, with random rows. False, with a line in the log, also when the device fails.
    """
    copies = [_copy(parameters) for _ in range(2)]
    reference = SacUpdate(copies[0], rows)
    try:
        update = DeviceSacUpdate(copies[1], rows, device)
        with update.loaded():
            found = [_random_step(update, number, settings) for number in range(CHECKED_STEPS)]
    except RuntimeError as error:
        log.warning("the SAC update fails on %s (%s); the CPU does it", device, str(error).splitlines()[0])
        return False
    expected = [_random_step(reference, number, settings) for number in range(CHECKED_STEPS)]
    nets = [(getattr(copies[0], name), getattr(copies[1], name)) for name in ("actor", "critic", "target")]
    # Adam divides by the gradient's size: where that is nothing but rounding, the sign of a step is chance.
    apart = max(float(np.quantile(np.abs(ours.params - theirs.params), 0.9)) for ours, theirs in nets)
    is_equal = np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE) and apart < 0.1 * settings.actor_rate
    if not is_equal:
        log.warning("the SAC update on %s gives %s instead of %s; the CPU does it", device, found[-1], expected[-1])
    return bool(is_equal)


def _random_step(update: SacUpdate | DeviceSacUpdate, number: int, settings: SacUpdateSettings) -> Losses:
    rng = np.random.default_rng(number)
    for name in _BATCH:
        values = getattr(update.batch, name)
        values[...] = rng.uniform(-0.9, 0.9, values.shape)
    return update.step(settings)


def _copy(p: SacParameters) -> SacParameters:
    copy = SacParameters.of_shape(p.actor.sizes[0], p.actor.sizes[-1] // 2, p.actor.sizes[1:-1], p.critic.sizes[1:-1])
    for ours, theirs in ((copy.actor, p.actor), (copy.critic, p.critic), (copy.target, p.target)):
        ours.params[...] = theirs.params
    copy.log_alpha[...] = p.log_alpha
    return copy
