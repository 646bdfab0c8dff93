"""The non-linearities of actors, in numpy and in place; each as torch computes it with its default options."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from floop_robot.bundle.manifest import Activation

Array = NDArray[np.float32]
_SELU_SCALE: Final = np.float32(1.0507009873554805)
_SELU_ALPHA: Final = np.float32(1.6732632423543772)
_LEAK: Final = np.float32(0.01)
# Abramowitz and Stegun 1964, 7.1.26: erf within 1.5e-7. Robots have no scipy.
_ERF: Final = tuple(np.float32(c) for c in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))
_ERF_P: Final = np.float32(0.3275911)
_HALF: Final = np.float32(0.5)


def _relu(x: Array) -> None:
    np.maximum(x, 0.0, out=x)


def _tanh(x: Array) -> None:
    np.tanh(x, out=x)


def _elu(x: Array) -> None:
    _below_zero(x, np.expm1(np.minimum(x, 0.0)))


def _selu(x: Array) -> None:
    _below_zero(x, _SELU_ALPHA * np.expm1(np.minimum(x, 0.0)))
    x *= _SELU_SCALE


def _leaky_relu(x: Array) -> None:
    np.maximum(x, _LEAK * x, out=x)


def _sigmoid(x: Array) -> None:
    x *= _HALF  # by tanh: exp would overflow
    np.tanh(x, out=x)
    x += 1.0
    x *= _HALF


def _silu(x: Array) -> None:
    gate = x.copy()
    _sigmoid(gate)
    x *= gate


def _softplus(x: Array) -> None:
    np.logaddexp(x, np.float32(0.0), out=x)


def _mish(x: Array) -> None:
    gate = x.copy()
    _softplus(gate)
    np.tanh(gate, out=gate)
    x *= gate


def _gelu(x: Array) -> None:
    at = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1.0 / (1.0 + _ERF_P * at)
    series = np.zeros_like(x)
    for coefficient in _ERF:
        series += coefficient
        series *= t
    erf = np.copysign(1.0 - series * np.exp(-at * at), x)
    x *= _HALF * (1.0 + erf)


def _below_zero(x: Array, value: Array) -> None:
    np.copyto(x, value, where=x < 0.0)


ACTIVATIONS: Final[dict[Activation, Callable[[Array], None]]] = {
    Activation.RELU: _relu,
    Activation.TANH: _tanh,
    Activation.ELU: _elu,
    Activation.SELU: _selu,
    Activation.LEAKY_RELU: _leaky_relu,
    Activation.SIGMOID: _sigmoid,
    Activation.SILU: _silu,
    Activation.SOFTPLUS: _softplus,
    Activation.MISH: _mish,
    Activation.GELU: _gelu,
}
