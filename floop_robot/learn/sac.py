"""FloopSAC: stable-baselines3's SAC with an update that is written out, several times as fast and numerically equal.

It is the stock algorithm in every other respect: the same networks, optimizers and files. Where the written-out update
does not apply (`torch_numpy.unsupported`), the stock one runs.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger

from floop_robot.learn.compiled_update import CompiledSacUpdate, make_update
from floop_robot.learn.device_update import DeviceSacUpdate, agrees
from floop_robot.learn.sac_update import BatchSource, Losses, SacParameters, SacUpdate, SacUpdateSettings
from floop_robot.learn.torch_numpy import TorchNumpyViews, unsupported
from floop_robot.replay.sac_batch import SacBatch

log = logging.getLogger(__name__)

Update = SacUpdate | CompiledSacUpdate | DeviceSacUpdate


class FloopSAC(SAC):
    """SAC whose `train` is a written-out update. Takes the constructor arguments of `stable_baselines3.SAC`."""

    NOT_SAVED: ClassVar[tuple[str, ...]] = (
        "_views", "_updates", "last_losses", "value_range", "imitation_weight", "actor_uses_target_critics",
        "lr_factor", "compiled", "update_device",
    )  # fmt: skip

    _views: TorchNumpyViews | None = None
    _updates: dict[tuple[int, bool, str], Update] | None = None
    last_losses: Losses | None = None
    value_range: tuple[float, float] | None = None
    """As `SacSettings.value_range`. This option and the next three go beyond the stock update."""
    imitation_weight: float = 0.0
    """As `SacSettings.imitation_weight`; the replay buffer must fill `SacBatch.success`."""
    actor_uses_target_critics: bool = False
    """As `SacSettings.actor_uses_target_critics`."""
    lr_factor: float = 1.0
    """Factor on the learning rate that the schedule gives."""
    compiled: bool = True
    """Whether compiled code does the update where there is some; otherwise numpy does."""
    update_device: str = "cpu"
    """Where the update is computed, while the model itself stays on the CPU.

    A device that fails the comparison before the first update is given up. One that fails later is not.
    """

    @classmethod
    def for_spaces(cls, observation: spaces.Box, action: spaces.Box, **options: Any) -> FloopSAC:
        """A model without an environment, for rows that come from elsewhere; `options` as for the constructor."""
        model = cls("MlpPolicy", cast(Any, None), _init_setup_model=False, **options)
        model.observation_space, model.action_space, model.n_envs = observation, action, 1
        if model.target_entropy == "auto":
            model.target_entropy = -float(np.prod(action.shape))
        model._setup_model()
        model.set_logger(Logger(folder=None, output_formats=[]))
        return model

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: what shares memory with this very model is made anew."""
        return self.__dict__ | {"_views": None, "_updates": None}

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), *self.NOT_SAVED]

    def numpy_parameters(self) -> SacParameters:
        """Networks and optimizers as arrays that share the model's memory; raises ValueError where that can't be."""
        reason = None if self._has_views() else unsupported(self)
        if reason:
            raise ValueError(f"this model has no numpy form: {reason}")
        return self._current_views().parameters

    def publish_optimizer_steps(self) -> None:
        """Tell torch's optimizers the step counts that were set in `numpy_parameters()`."""
        self._current_views().write_steps()

    def _current_views(self) -> TorchNumpyViews:
        if self._views is None or not self._views.is_current(self):
            self._views, self._updates = TorchNumpyViews(self), {}
        return self._views

    def _has_views(self) -> bool:
        return self._views is not None and self._views.is_current(self)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Do `gradient_steps` updates on batches from the replay buffer."""
        if not self._has_views() and unsupported(self):
            super().train(gradient_steps, batch_size)
            return
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        self._update_learning_rate(optimizers)
        views = self._current_views()
        views.read_steps()
        self._record(self._run(self._update_for(views.parameters, batch_size), gradient_steps))
        views.write_steps()

    def _update_for(self, parameters: SacParameters, batch_size: int) -> Update:
        assert self._updates is not None
        key = batch_size, self.compiled, self.update_device
        if key not in self._updates:
            made = self._make_update(parameters, batch_size)
            key = batch_size, self.compiled, self.update_device  # which may be another device now
            self._updates[key] = made
        return self._updates[key]

    def _make_update(self, parameters: SacParameters, batch_size: int) -> Update:
        device = self.update_device
        if device != "cpu":
            if agrees(parameters, batch_size, device, self._step_sizes(True)):
                log.info("SAC update for %d rows: on %s", batch_size, device)
                return DeviceSacUpdate(parameters, batch_size, device)
            self.update_device = "cpu"
        made = make_update(parameters, batch_size, compiled=self.compiled)
        log.info("SAC update for %d rows: %s", batch_size, type(made).__name__)
        return made

    def _update_learning_rate(self, optimizers: list[th.optim.Optimizer] | th.optim.Optimizer) -> None:
        super()._update_learning_rate(optimizers)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for group in optimizer.param_groups:
                group["lr"] *= self.lr_factor

    def _run(self, update: Update, gradient_steps: int) -> list[Losses]:
        if isinstance(update, DeviceSacUpdate):
            with update.loaded():
                return self._steps(update, gradient_steps)
        return self._steps(update, gradient_steps)

    def _steps(self, update: Update, gradient_steps: int) -> list[Losses]:
        source = self._batch_source()
        noise = [th.from_numpy(part) for part in update.batch.noise]
        losses = []
        sizes = {update_target: self._step_sizes(update_target) for update_target in (True, False)}
        for i in range(gradient_steps):
            source.fill(update.batch, self.gamma)
            for part in noise:  # the same draws as the stock update makes from the same generator
                part.normal_()
            losses.append(update.step(sizes[i % self.target_update_interval == 0]))
        self._n_updates += gradient_steps
        return losses

    def _step_sizes(self, update_target: bool) -> SacUpdateSettings:
        learned = self.ent_coef_optimizer is not None
        return SacUpdateSettings(
            actor_rate=self.actor.optimizer.param_groups[0]["lr"],
            critic_rate=self.critic.optimizer.param_groups[0]["lr"],
            alpha_rate=self.ent_coef_optimizer.param_groups[0]["lr"] if self.ent_coef_optimizer else 0.0,
            tau=self.tau,
            target_entropy=cast(float, self.target_entropy),
            fixed_alpha=None if learned else float(self.ent_coef_tensor),
            update_target=update_target,
            value_range=self.value_range,
            imitation_weight=self.imitation_weight,
            actor_uses_target_critics=self.actor_uses_target_critics,
        )

    def _record(self, losses: list[Losses]) -> None:
        if not losses:
            return
        self.last_losses = mean = Losses(*(float(np.mean(column)) for column in zip(*losses, strict=True)))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/ent_coef", mean.alpha)
        self.logger.record("train/actor_loss", mean.actor)
        self.logger.record("train/critic_loss", mean.critic)
        if self.ent_coef_optimizer is not None:
            self.logger.record("train/ent_coef_loss", mean.alpha_loss)

    def _batch_source(self) -> BatchSource:
        buffer = self.replay_buffer
        assert buffer is not None, "the model has no replay buffer"
        if hasattr(buffer, "fill"):
            return cast(BatchSource, buffer)
        plain = type(buffer) is ReplayBuffer and not buffer.optimize_memory_usage and self._vec_normalize_env is None
        return _ArraySource(buffer) if plain else _SampleSource(self, buffer)


class _ArraySource:
    """Reads a stock ReplayBuffer's arrays, with the draws its own `sample` makes from numpy's global generator."""

    def __init__(self, buffer: ReplayBuffer) -> None:
        self._buffer = buffer

    def fill(self, batch: SacBatch, gamma: float) -> None:
        b, n = self._buffer, batch.obs_size
        rows = np.random.randint(0, b.buffer_size if b.full else b.pos, size=batch.rows)
        envs = np.random.randint(0, high=b.n_envs, size=(batch.rows,))
        batch.obs_act[:, :n] = b.observations[rows, envs].reshape(batch.rows, n)
        batch.obs_act[:, n:] = b.actions[rows, envs]
        batch.next_obs_act[:, :n] = b.next_observations[rows, envs].reshape(batch.rows, n)
        batch.reward[:] = b.rewards[rows, envs]
        ended = b.dones[rows, envs] * (1.0 - b.timeouts[rows, envs])
        np.multiply(1.0 - ended, np.float32(gamma), out=batch.discount, casting="unsafe")


class _SampleSource:
    """Copies what any other replay buffer's `sample` returns (n-step, hindsight, normalized, …)."""

    def __init__(self, model: SAC, buffer: ReplayBuffer) -> None:
        self._model, self._buffer = model, buffer

    def fill(self, batch: SacBatch, gamma: float) -> None:
        n = batch.obs_size
        data = self._buffer.sample(batch.rows, env=self._model._vec_normalize_env)
        batch.obs_act[:, :n] = data.observations.numpy().reshape(batch.rows, n)
        batch.obs_act[:, n:] = data.actions.numpy()
        batch.next_obs_act[:, :n] = data.next_observations.numpy().reshape(batch.rows, n)
        batch.reward[:] = data.rewards.numpy()[:, 0]
        discount = gamma if data.discounts is None else data.discounts.numpy()[:, 0]
        batch.discount[:] = (1.0 - data.dones.numpy()[:, 0]) * discount
