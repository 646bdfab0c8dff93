"""Adam over one flat vector (Kingma and Ba 2015), step for step as torch.optim.Adam with its default options."""

from __future__ import annotations

import math

import numpy as np

from floop_robot.learn.mlp import Array

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class FlatAdam:
    """Moments of a flat parameter vector; `step` changes the parameters in place."""

    def __init__(self, params: Array) -> None:
        self.params = params
        self.mean: Array = np.zeros_like(params)
        self.square: Array = np.zeros_like(params)
        self.steps = 0
        self._scratch: Array = np.zeros_like(params)

    def step(self, grads: Array, learning_rate: float) -> None:
        """Move along `grads` (same shape as the parameters)."""
        self.steps += 1
        scratch = self._scratch
        np.subtract(grads, self.mean, out=scratch)
        scratch *= np.float32(1.0 - BETA1)
        self.mean += scratch
        np.multiply(grads, grads, out=scratch)
        scratch *= np.float32(1.0 - BETA2)
        self.square *= np.float32(BETA2)
        self.square += scratch
        np.sqrt(self.square, out=scratch)
        scratch *= np.float32(1.0 / math.sqrt(1.0 - BETA2**self.steps))
        scratch += np.float32(EPSILON)
        np.divide(self.mean, scratch, out=scratch)
        scratch *= np.float32(learning_rate / (1.0 - BETA1**self.steps))
        self.params -= scratch
