"""Actor: the policy network in numpy, for every place that acts without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from floop_robot.bundle.manifest import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    Activation,
    Architecture,
    Distribution,
    Normalization,
)
from floop_robot.spec.errors import BundleRefused

Array = NDArray[np.float32]
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_SQUASH_EPSILON = 1e-6  # the one of stable-baselines3's SquashedDiagGaussianDistribution: log-probs must agree


class Actor:
    """Raw observations in, actions out; owns its buffers, so each thread needs its own.

    Swapping a policy is swapping the reference to its actor.
    """

    def __init__(self, architecture: Architecture, normalization: Normalization, tensors: Mapping[str, Array]) -> None:
        """Take the tensors named by `architecture.tensor_shapes()`; raises `BundleRefused` on a wrong name or shape."""
        _check_shapes(architecture, normalization, tensors)
        self.architecture = architecture
        own = {name: np.array(value, np.float32, order="C") for name, value in tensors.items()}
        self._offset = np.array(normalization.offset, np.float32)
        self._scale = np.array(normalization.scale, np.float32)
        layers = range(len(architecture.hidden))
        self._hidden = [(own[f"layer{i}.weight"], own[f"layer{i}.bias"]) for i in layers]
        self._mean = own["mean.weight"], own["mean.bias"]
        self._squashed = architecture.distribution is Distribution.TANH_GAUSSIAN
        self._log_std = (own["log_std.weight"], own["log_std.bias"]) if self._squashed else None
        self._free_log_std = None if self._squashed else own["log_std"]
        self._relu = architecture.activation is Activation.RELU
        self._x = np.zeros(architecture.observation_size, np.float32)
        self._buffers = [np.zeros(size, np.float32) for size in architecture.hidden]
        # Through the layers in one flat loop: weight, bias, buffer.
        self._steps = [(w, b, h) for (w, b), h in zip(self._hidden, self._buffers, strict=True)]

    def mean(self, observation: Array) -> Array:
        """Return the action without noise, shape (action_size,), in [-1, 1]; a fresh array."""
        mean = self._head(self._mean, self._features(observation))
        return np.tanh(mean, out=mean) if self._squashed else np.clip(mean, -1.0, 1.0, out=mean)

    def sample(self, observation: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """Draw an action; returns it, shape (action_size,), and its log-density as stable-baselines3 computes it.

        Tanh-Gaussian actions lie in [-1, 1]; Gaussian ones are not clipped (the density speaks of the unclipped one).
        """
        features = self._features(observation)
        mean = self._head(self._mean, features)
        log_std = self._clamped(self._head(self._log_std, features)) if self._log_std else self._free_log_std
        action, log_prob = self._draw(mean, log_std, rng)
        return action, float(log_prob)

    def mean_batch(self, observations: Array) -> Array:
        """Like `mean` for observations of shape (n, observation_size); returns (n, action_size)."""
        mean = self._head_batch(self._mean, self._features_batch(observations))
        return np.tanh(mean, out=mean) if self._squashed else np.clip(mean, -1.0, 1.0, out=mean)

    def _features(self, observation: Array) -> Array:
        x = self._x
        np.subtract(observation, self._offset, out=x)
        np.divide(x, self._scale, out=x)
        for weight, bias, buffer in self._steps:
            np.dot(weight, x, out=buffer)
            buffer += bias
            self._activate(buffer)
            x = buffer
        return x

    def _features_batch(self, observations: Array) -> Array:
        x: Array = (np.asarray(observations, np.float32) - self._offset) / self._scale
        for weight, bias in self._hidden:
            x = x @ weight.T
            x += bias
            self._activate(x)
        return x

    def _activate(self, x: Array) -> None:
        if self._relu:
            np.maximum(x, 0.0, out=x)
        else:
            np.tanh(x, out=x)

    @staticmethod
    def _head(head: tuple[Array, Array], features: Array) -> Array:
        out: Array = np.dot(head[0], features)
        out += head[1]
        return out

    @staticmethod
    def _head_batch(head: tuple[Array, Array], features: Array) -> Array:
        out: Array = features @ head[0].T
        out += head[1]
        return out

    @staticmethod
    def _clamped(log_std: Array) -> Array:
        return np.clip(log_std, LOG_STD_MIN, LOG_STD_MAX, out=log_std)

    def _draw(self, mean: Array, log_std: Array | None, rng: np.random.Generator) -> tuple[Array, Array]:
        assert log_std is not None
        noise: Array = rng.standard_normal(mean.shape, dtype=np.float32)
        std: Array = np.exp(log_std)
        action: Array = mean + std * noise
        density: Array = np.float32(-0.5) * noise * noise - log_std - np.float32(_HALF_LOG_TWO_PI)
        log_prob: Array = density.sum(axis=-1)
        if self._squashed:
            np.tanh(action, out=action)
            log_prob = log_prob - np.log(1.0 - action * action + _SQUASH_EPSILON).sum(axis=-1)
        return action, log_prob


def _check_shapes(architecture: Architecture, normalization: Normalization, tensors: Mapping[str, Array]) -> None:
    size = architecture.observation_size
    if len(normalization.offset) != size or len(normalization.scale) != size:
        raise BundleRefused(
            f"the policy normalizes {len(normalization.offset)} offsets and {len(normalization.scale)} scales, but its "
            f"observation size is {size}; export it again"
        )
    wanted = architecture.tensor_shapes()
    if set(wanted) != set(tensors):
        wrong = sorted(set(wanted) ^ set(tensors))
        raise BundleRefused(f"the policy's tensors don't fit its architecture (missing or extra: {', '.join(wrong)})")
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            has = tensors[name].shape
            raise BundleRefused(f"tensor {name!r} has shape {has}, not {shape} as its architecture says; export again")
