"""ReLU networks as flat numpy vectors: several of one shape are evaluated together, without a tape or an allocation.

Matrix products go to BLAS either way; what an autograd tape costs on top is several times the products themselves for
networks of this size, so forward and backward are written out here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """Views into the flat vectors of one fully connected layer."""

    weight: Array
    """Shape (stack, out, in), as torch keeps it for each network of the stack."""
    bias: Array
    """Shape (stack, out)."""
    weight_grad: Array
    bias_grad: Array


class StackedMlp:
    """`stack` networks `sizes[0] → … → sizes[-1]` with ReLU between, that read the same input.

    All parameters lie in `params`, all gradients in `grads`: flat vectors in the same order.
    """

    def __init__(self, sizes: tuple[int, ...], stack: int = 1) -> None:
        self.sizes, self.stack = sizes, stack
        count = stack * sum(i * o + o for i, o in pairwise(sizes))
        self.params: Array = np.zeros(count, np.float32)
        self.grads: Array = np.zeros(count, np.float32)
        pairs = zip(self.views(self.params), self.views(self.grads), strict=True)
        self.layers = [Layer(*values, *grads) for values, grads in pairs]

    def views(self, flat: Array) -> list[tuple[Array, Array]]:
        """Weight (stack, out, in) and bias (stack, out) of each layer as views into `flat`, a vector like `params`."""
        out, start = [], 0
        for n_in, n_out in pairwise(self.sizes):
            middle = start + self.stack * n_out * n_in
            end = middle + self.stack * n_out
            weight = flat[start:middle].reshape(self.stack, n_out, n_in)
            out.append((weight, flat[middle:end].reshape(self.stack, n_out)))
            start = end
        return out

    def forward(self, x: Array, tape: Tape) -> Array:
        """Outputs, shape (stack, rows, sizes[-1]), for `x`, shape (rows, sizes[0]); valid until the next call."""
        first = self.layers[0]
        hidden = tape.hidden[0]
        np.matmul(x, first.weight.reshape(-1, self.sizes[0]).T, out=hidden.flat)
        self._activate(first, hidden)
        for layer, below, above in zip(self.layers[1:-1], tape.hidden, tape.hidden[1:], strict=False):
            np.matmul(below.stacked, layer.weight.transpose(0, 2, 1), out=above.stacked)
            self._activate(layer, above)
        last = self.layers[-1]
        np.matmul(tape.hidden[-1].stacked, last.weight.transpose(0, 2, 1), out=tape.out)
        tape.out += last.bias[:, None, :]
        return tape.out

    @staticmethod
    def _activate(layer: Layer, hidden: Hidden) -> None:
        hidden.flat += layer.bias.reshape(-1)
        # An array of zeros is 5 × faster here than the scalar 0, which numpy broadcasts without SIMD.
        np.maximum(hidden.flat, hidden.zeros, out=hidden.flat)

    def backward(self, x: Array, out_grad: Array, tape: Tape, *, params: bool = True) -> Array:
        """Gradients for the last `forward(x, tape)`, given `out_grad` of shape (stack, rows, sizes[-1]).

        With `params`, `grads` is overwritten. Returns the gradient at the first layer, before its weights: shape
        (rows, stack * sizes[1]); multiplied by `input_weight` columns it is the gradient of those inputs.
        """
        last = self.layers[-1]
        below = tape.hidden[-1]
        if params:
            np.matmul(out_grad.transpose(0, 2, 1), below.stacked, out=last.weight_grad)
            np.sum(out_grad, axis=1, out=last.bias_grad)
        np.matmul(out_grad, last.weight, out=below.stacked_grad)
        below.mask()
        for layer, above, under in zip(self.layers[-2:0:-1], tape.hidden[::-1], tape.hidden[-2::-1], strict=False):
            if params:
                np.matmul(above.stacked_grad.transpose(0, 2, 1), under.stacked, out=layer.weight_grad)
                np.matmul(tape.ones, above.flat_grad, out=layer.bias_grad.reshape(-1))
            np.matmul(above.stacked_grad, layer.weight, out=under.stacked_grad)
            under.mask()
        first, bottom = self.layers[0], tape.hidden[0]
        if params:
            np.matmul(bottom.flat_grad.T, x, out=first.weight_grad.reshape(-1, self.sizes[0]))
            np.matmul(tape.ones, bottom.flat_grad, out=first.bias_grad.reshape(-1))
        return bottom.flat_grad

    @property
    def input_weight(self) -> Array:
        """Weights of the first layer of all networks, shape (stack * sizes[1], sizes[0])."""
        return self.layers[0].weight.reshape(-1, self.sizes[0])


class Hidden:
    """Activations of one hidden layer and their gradient; the networks of a stack lie side by side in each row."""

    def __init__(self, rows: int, stack: int, width: int) -> None:
        self.flat: Array = np.zeros((rows, stack * width), np.float32)
        self.zeros: Array = np.zeros_like(self.flat)
        self.flat_grad: Array = np.zeros_like(self.flat)
        self.stacked: Array = self.flat.reshape(rows, stack, width).transpose(1, 0, 2)
        self.stacked_grad: Array = self.flat_grad.reshape(rows, stack, width).transpose(1, 0, 2)
        self._active = np.zeros(self.flat.shape, np.bool_)

    def mask(self) -> None:
        """Let gradients through only where the ReLU was active."""
        np.greater(self.flat, self.zeros, out=self._active)
        np.multiply(self.flat_grad, self._active, out=self.flat_grad)


@dataclass
class Tape:
    """What `backward` needs to know of a `forward` over `rows` inputs; reused from call to call."""

    net: StackedMlp
    rows: int
    hidden: list[Hidden] = field(init=False)
    out: Array = field(init=False)
    ones: Array = field(init=False)

    def __post_init__(self) -> None:
        self.hidden = [Hidden(self.rows, self.net.stack, width) for width in self.net.sizes[1:-1]]
        self.out = np.zeros((self.net.stack, self.rows, self.net.sizes[-1]), np.float32)
        self.ones = np.ones(self.rows, np.float32)
