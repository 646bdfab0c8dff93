"""The numpy actor against torch and stable-baselines3's own distributions."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from stable_baselines3.common.distributions import DiagGaussianDistribution, SquashedDiagGaussianDistribution

from floop_robot.bundle import Activation, Distribution
from floop_robot.bundle.activations import ACTIVATIONS
from tests.support.sample_bundles import TASK, architecture, make_actor, random_observations

CASES = [
    *(
        (d, a, h)
        for d in Distribution
        for a in (Activation.RELU, Activation.TANH)
        for h in [(64, 64), (32,), (256, 256)]
    ),
    *((Distribution.GAUSSIAN, a, (64, 64)) for a in Activation),
    *((d, Activation.RELU, ()) for d in Distribution),
]
SAMPLED = [case for case in CASES if case[0] in (Distribution.TANH_GAUSSIAN, Distribution.GAUSSIAN)]


def torch_heads(arch, tensors, observations):
    """The same network, written down independently in torch: mean and log-std before clamping."""
    t = {k: torch.as_tensor(v) for k, v in tensors.items()}
    layout = TASK.observation
    x = (torch.as_tensor(observations) - torch.as_tensor(layout.offset)) / torch.as_tensor(layout.scale)
    act = torch.tanh if arch.activation is Activation.TANH else getattr(torch.nn.functional, arch.activation)
    for i in range(len(arch.hidden)):
        x = act(torch.nn.functional.linear(x, t[f"layer{i}.weight"], t[f"layer{i}.bias"]))
    mean = torch.nn.functional.linear(x, t["mean.weight"], t["mean.bias"])
    if arch.distribution is Distribution.GAUSSIAN:
        return mean, t["log_std"].expand_as(mean)
    if arch.distribution is not Distribution.TANH_GAUSSIAN:
        return mean, None
    return mean, torch.nn.functional.linear(x, t["log_std.weight"], t["log_std.bias"]).clamp(-20, 2)


class _Recorded:
    """A generator that repeats known noise, so that torch can be fed the same."""

    def __init__(self, noise):
        self.noise = noise

    def standard_normal(self, shape, dtype):
        return self.noise.reshape(shape).astype(dtype)


@pytest.mark.parametrize(("distribution", "activation", "hidden"), CASES)
def test_mean_action_equals_torch(distribution, activation, hidden):
    arch = architecture(distribution, hidden, activation)
    actor, tensors = make_actor(arch)
    observations = random_observations(200)
    mean, _ = torch_heads(arch, tensors, observations)
    expected = (torch.tanh(mean) if distribution.squashes else mean.clamp(-1, 1)).numpy()
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(actor.mean_batch(observations), expected, atol=2e-6)
    np.testing.assert_allclose([actor.mean(o) for o in observations], expected, atol=2e-6)


@pytest.mark.parametrize("distribution", [Distribution.TANH, Distribution.CLIPPED])
def test_a_policy_without_a_density_samples_its_mean(distribution):
    actor, _ = make_actor(architecture(distribution))
    seen = random_observations(1)[0]
    action, log_prob = actor.sample(seen, np.random.default_rng(0))
    assert (action == actor.mean(seen)).all()
    assert np.isnan(log_prob)


@pytest.mark.parametrize("activation", Activation)
def test_activations_of_large_values_are_those_of_torch(activation):
    values = np.array([-1e4, -100.0, -20.0, -3.0, -1e-4, -0.0, 0.0, 1e-4, 0.7, 4.0, 30.0, 1e4], np.float32)
    found = values.copy()
    with np.errstate(all="raise", under="ignore"):
        ACTIVATIONS[activation](found)
    function = torch.tanh if activation is Activation.TANH else getattr(torch.nn.functional, activation)
    np.testing.assert_allclose(found, function(torch.as_tensor(values)).numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("distribution", "activation", "hidden"), SAMPLED)
def test_samples_and_log_probs_equal_stable_baselines(distribution, activation, hidden):
    arch = architecture(distribution, hidden, activation)
    actor, tensors = make_actor(arch)
    observations = random_observations(200)
    noise = np.random.default_rng(1).standard_normal((200, 4)).astype(np.float32)
    mean, log_std = torch_heads(arch, tensors, observations)
    raw = mean + log_std.exp() * torch.as_tensor(noise)
    if distribution is Distribution.TANH_GAUSSIAN:
        expected_action = torch.tanh(raw)
        sb3 = SquashedDiagGaussianDistribution(4).proba_distribution(mean, log_std)
        expected_log_prob = sb3.log_prob(expected_action, raw)
    else:
        expected_action = raw
        expected_log_prob = DiagGaussianDistribution(4).proba_distribution(mean, log_std).log_prob(raw)
    samples = [actor.sample(seen, _Recorded(drawn)) for seen, drawn in zip(observations, noise, strict=True)]
    actions, log_probs = np.array([action for action, _ in samples]), np.array([log_prob for _, log_prob in samples])
    np.testing.assert_allclose(actions, expected_action.numpy(), atol=5e-6, rtol=1e-5)
    # Where tanh saturates the correction divides by 1e-6 of rounding: only there may they differ more.
    squashed = distribution is Distribution.TANH_GAUSSIAN
    inner = np.abs(expected_action.numpy()).max(1) < 0.999 if squashed else slice(None)
    np.testing.assert_allclose(log_probs[inner], expected_log_prob.numpy()[inner], atol=5e-3, rtol=1e-3)


def test_gaussian_samples_are_not_clipped():
    actor, _ = make_actor(architecture(Distribution.GAUSSIAN))
    rng = np.random.default_rng(0)
    actions = [actor.sample(observation, rng)[0] for observation in random_observations(500)]
    assert np.abs(actions).max() > 1
    assert np.abs(actor.mean_batch(random_observations(500))).max() <= 1


def test_answers_do_not_share_memory():
    actor, _ = make_actor(architecture())
    first = actor.mean(random_observations(1)[0])
    kept = first.copy()
    actor.mean(random_observations(1, seed=5)[0])
    np.testing.assert_array_equal(first, kept)


def test_one_action_takes_microseconds():
    actor, _ = make_actor(architecture())
    observation = random_observations(1)[0]
    best = min(_cpu_per_call(actor, observation) for _ in range(10))
    assert best < 60e-6, f"{best * 1e6:.1f} us of CPU per action"


def _cpu_per_call(actor, observation, n=300):
    start = time.thread_time()
    for _ in range(n):
        actor.mean(observation)
    return (time.thread_time() - start) / n
