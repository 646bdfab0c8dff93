"""What succeeded draws the actor, and only where the critics find it better than what the actor would do."""

import numpy as np
import pytest
import torch as th

from floop_robot.learn.sac_update import SacParameters, SacUpdate, SacUpdateSettings

OBS, ACT, ROWS, WEIGHT = 6, 3, 64, 2.0
STILL = {"actor_rate": 0.0, "critic_rate": 0.0, "alpha_rate": 0.0, "tau": 0.0, "target_entropy": -3.0}


def update() -> SacUpdate:
    parameters = SacParameters.of_shape(OBS, ACT, (16, 16), (16, 16))
    rng = np.random.default_rng(3)
    for net in (parameters.actor, parameters.critic, parameters.target):
        net.params[:] = rng.normal(0.0, 0.4, net.params.shape)
    made = SacUpdate(parameters, ROWS)
    batch = made.batch
    batch.obs_act[...] = rng.uniform(-0.9, 0.9, batch.obs_act.shape)
    batch.next_obs_act[:, :OBS] = rng.normal(size=(ROWS, OBS))
    batch.noise[...] = rng.normal(size=batch.noise.shape)
    batch.success[: ROWS // 2] = 1.0
    return made


def gradient(weight: float, by_target: bool) -> np.ndarray:
    made = update()
    made.step(SacUpdateSettings(**STILL, imitation_weight=weight, actor_uses_target_critics=by_target))
    return made.parameters.actor.grads.copy()


def expected(by_target: bool) -> np.ndarray:
    """The gradient of the same term, by torch."""
    made = update()
    now = th.from_numpy(made.batch.obs_act)
    obs, done = now[:, :OBS], now[:, OBS:]
    actor = made.parameters.actor
    critic = made.parameters.target if by_target else made.parameters.critic
    weights = [
        (th.from_numpy(layer.weight[0].copy()).requires_grad_(), th.from_numpy(layer.bias[0].copy()).requires_grad_())
        for layer in actor.layers
    ]
    out = obs
    for i, (weight, bias) in enumerate(weights):
        out = out @ weight.T + bias
        out = th.relu(out) if i < len(weights) - 1 else out
    mean, log_std = out[:, :ACT], out[:, ACT:].clip(-20, 2)
    would = th.tanh(mean + log_std.exp() * th.from_numpy(made.batch.noise[0])).detach()

    def value(action: th.Tensor) -> th.Tensor:
        rows = []
        for i in range(2):
            x = th.cat([obs, action], 1)
            for j, layer in enumerate(critic.layers):
                x = x @ th.from_numpy(layer.weight[i].copy()).T + th.from_numpy(layer.bias[i].copy())
                x = th.relu(x) if j < len(critic.layers) - 1 else x
            rows.append(x[:, 0])
        return th.minimum(*rows)

    better = value(done) > value(would)
    assert 5 < int((better[: ROWS // 2]).sum()) < ROWS // 2 - 5
    chosen = better * th.from_numpy(made.batch.success)
    loss = WEIGHT * (chosen * ((th.tanh(mean) - done) ** 2).sum(1)).mean()
    loss.backward()
    actor.grads[:] = 0.0
    for layer, (weight, bias) in zip(actor.layers, weights, strict=True):
        assert weight.grad is not None
        assert bias.grad is not None
        layer.weight_grad[0], layer.bias_grad[0] = weight.grad.numpy(), bias.grad.numpy()
    return actor.grads.copy()


@pytest.mark.parametrize("by_target", [False, True])
def test_the_pull_is_the_gradient_of_the_filtered_distance(by_target: bool) -> None:
    pull = gradient(WEIGHT, by_target) - gradient(0.0, by_target)
    assert np.abs(pull).max() > 1e-3
    assert pull == pytest.approx(expected(by_target), abs=2e-6)


def test_rated_by_the_targets_the_actor_learns_as_if_they_were_the_critics() -> None:
    rated = gradient(WEIGHT, by_target=True)
    assert np.abs(rated - gradient(WEIGHT, by_target=False)).max() > 1e-3
    swapped = update()
    swapped.parameters.critic.params[:] = swapped.parameters.target.params
    swapped.step(SacUpdateSettings(**STILL, imitation_weight=WEIGHT))
    assert rated == pytest.approx(swapped.parameters.actor.grads, abs=1e-9)


def test_where_nothing_succeeded_nothing_draws() -> None:
    made = update()
    made.batch.success[:] = 0.0
    made.step(SacUpdateSettings(**STILL, imitation_weight=WEIGHT))
    assert made.parameters.actor.grads == pytest.approx(gradient(0.0, by_target=False), abs=1e-9)
