"""Actor: the policy network in numpy, for every place that acts without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from floop_robot.bundle.activations import ACTIVATIONS
from floop_robot.bundle.manifest import (
    LOG_STD_MAX,
    LOG_STD_MIN,
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
        offset = np.array(normalization.offset, np.float64)
        self._offset = offset.astype(np.float32)
        rest: Array = (offset - self._offset).astype(np.float32)
        # Where a scale is tiny, the offset is needed to more digits than float32 has.
        self._offset_rest = rest if rest.any() else None
        self._scale = np.array(normalization.scale, np.float32)
        self._limit = None if normalization.limit is None else np.float32(normalization.limit)
        layers = range(len(architecture.hidden))
        self._hidden = [(own[f"layer{i}.weight"], own[f"layer{i}.bias"]) for i in layers]
        self._mean = own["mean.weight"], own["mean.bias"]
        self._squashed = architecture.distribution.squashes
        self._mean_limit = architecture.mean_limit
        is_head = architecture.distribution is Distribution.TANH_GAUSSIAN
        self._log_std = (own["log_std.weight"], own["log_std.bias"]) if is_head else None
        self._free_log_std = own["log_std"] if architecture.distribution is Distribution.GAUSSIAN else None
        self._activate = ACTIVATIONS[architecture.activation]
        self._x = np.zeros(architecture.observation_size, np.float32)
        self._buffers = [np.zeros(size, np.float32) for size in architecture.hidden]
        # Through the layers in one flat loop: weight, bias, buffer.
        self._steps = [(w, b, h) for (w, b), h in zip(self._hidden, self._buffers, strict=True)]

    def mean(self, observation: Array) -> Array:
        """Return the action without noise, shape (action_size,), in [-1, 1]; a fresh array."""
        return self._bounded(self._head(self._mean, self._features(observation)))

    def sample(self, observation: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """Draw an action; returns it, shape (action_size,), and its log-density as stable-baselines3 computes it.

        Tanh-Gaussian actions lie in [-1, 1]; Gaussian ones are not clipped (the density speaks of the unclipped one).
        Of a policy without a density it is the mean action, with NaN.
        """
        if self._log_std is None and self._free_log_std is None:
            return self.mean(observation), math.nan
        features = self._features(observation)
        mean = self._head(self._mean, features)
        log_std = self._clamped(self._head(self._log_std, features)) if self._log_std else self._free_log_std
        action, log_prob = self._draw(mean, log_std, rng)
        return action, float(log_prob)

    def mean_batch(self, observations: Array) -> Array:
        """Like `mean` for observations of shape (n, observation_size); returns (n, action_size)."""
        return self._bounded(self._head_batch(self._mean, self._features_batch(observations)))

    def _bounded(self, mean: Array) -> Array:
        if self._mean_limit is not None:
            np.clip(mean, -self._mean_limit, self._mean_limit, out=mean)
        return np.tanh(mean, out=mean) if self._squashed else np.clip(mean, -1.0, 1.0, out=mean)

    def _features(self, observation: Array) -> Array:
        x = self._x
        np.subtract(observation, self._offset, out=x)
        if self._offset_rest is not None:
            x -= self._offset_rest
        np.divide(x, self._scale, out=x)
        if self._limit is not None:
            np.clip(x, -self._limit, self._limit, out=x)
        for weight, bias, buffer in self._steps:
            np.dot(weight, x, out=buffer)
            buffer += bias
            self._activate(buffer)
            x = buffer
        return x

    def _features_batch(self, observations: Array) -> Array:
        x: Array = np.asarray(observations, np.float32) - self._offset
        if self._offset_rest is not None:
            x -= self._offset_rest
        x /= self._scale
        if self._limit is not None:
            np.clip(x, -self._limit, self._limit, out=x)
        for weight, bias in self._hidden:
            x = x @ weight.T
            x += bias
            self._activate(x)
        return x

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
