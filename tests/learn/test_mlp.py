"""The numpy networks and their optimizer do what torch's do."""

import numpy as np
import pytest
import torch as th

from floop_robot.learn.adam import FlatAdam
from floop_robot.learn.mlp import StackedMlp, Tape

SIZES, STACK, ROWS = (5, 16, 8, 3), 2, 12


def random_net(seed: int = 0) -> StackedMlp:
    net = StackedMlp(SIZES, STACK)
    net.params[:] = np.random.default_rng(seed).normal(0.0, 0.4, net.params.shape)
    return net


def torch_forward(params: list[tuple[th.Tensor, th.Tensor]], x: th.Tensor, which: int) -> th.Tensor:
    for i, (weight, bias) in enumerate(params):
        x = x @ weight[which].T + bias[which]
        if i < len(params) - 1:
            x = th.relu(x)
    return x


def test_outputs_and_gradients_are_those_of_autograd() -> None:
    net, rng = random_net(), np.random.default_rng(1)
    x = rng.standard_normal((ROWS, SIZES[0])).astype(np.float32)
    out_grad = rng.standard_normal((STACK, ROWS, SIZES[-1])).astype(np.float32)
    params = [(th.tensor(w, requires_grad=True), th.tensor(b, requires_grad=True)) for w, b in net.views(net.params)]
    inputs = th.tensor(x, requires_grad=True)
    expected = th.stack([torch_forward(params, inputs, which) for which in range(STACK)])
    expected.backward(th.from_numpy(out_grad))

    tape = Tape(net, ROWS)
    assert net.forward(x, tape) == pytest.approx(expected.detach().numpy(), abs=1e-5)
    first_grad = net.backward(x, out_grad, tape)
    for (weight, bias), (weight_grad, bias_grad) in zip(params, net.views(net.grads), strict=True):
        assert weight.grad is not None and bias.grad is not None
        assert weight_grad == pytest.approx(weight.grad.numpy(), abs=1e-4)
        assert bias_grad == pytest.approx(bias.grad.numpy(), abs=1e-4)
    assert inputs.grad is not None
    assert first_grad @ net.input_weight == pytest.approx(inputs.grad.numpy(), abs=1e-4)


def test_gradients_of_inputs_alone_leave_those_of_parameters() -> None:
    net, x = random_net(), np.ones((ROWS, SIZES[0]), np.float32)
    tape, out_grad = Tape(net, ROWS), np.ones((STACK, ROWS, SIZES[-1]), np.float32)
    net.forward(x, tape)
    net.backward(x, out_grad, tape, params=False)
    assert not net.grads.any()


def test_adam_steps_are_torchs() -> None:
    rng = np.random.default_rng(2)
    params = rng.standard_normal(50).astype(np.float32)
    stock = th.nn.Parameter(th.from_numpy(params.copy()))
    optimizer, ours = th.optim.Adam([stock], lr=1e-2), FlatAdam(params)
    for step in range(20):
        grads = rng.standard_normal(50).astype(np.float32)
        rate = 1e-2 if step < 10 else 1e-3
        optimizer.param_groups[0]["lr"] = rate
        stock.grad = th.from_numpy(grads.copy())
        optimizer.step()
        ours.step(grads, rate)
    assert params == pytest.approx(stock.detach().numpy(), abs=1e-6)
    assert ours.steps == 20
