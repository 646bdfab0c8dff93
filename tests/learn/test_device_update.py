"""The update for GPUs computes what the numpy update computes; on torch's CPU device where there is no GPU."""

import logging
from typing import Any

import numpy as np
import pytest
import torch

from floop_robot.learn.device_update import LEAST_UNITS, DeviceSacUpdate, agrees, resolve_device
from floop_robot.learn.make_algorithm import make_algorithm
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.sac_update import SacUpdate, SacUpdateSettings
from floop_robot.spec.default_settings import FLEET_SAC
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
from tests.learn.test_compiled_update import OPTIONS, RATES, parameters, train
from tests.learn.test_sac_algorithm import SPACE, rows_of, stream

HAS_GPU = torch.cuda.is_available()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not HAS_GPU, reason="torch finds no GPU here"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(37, 5, (64, 64), (64, 64), 256), (6, 3, (16,), (40, 24, 8), 61)])
@OPTIONS
def test_it_learns_as_numpy_does(
    device: str, shape: tuple[int, int, tuple[int, ...], tuple[int, ...], int], options: dict[str, Any]
) -> None:
    settings, rows = SacUpdateSettings(**RATES, **options), shape[4]
    ours, numpys = parameters(*shape[:4]), parameters(*shape[:4])
    update = DeviceSacUpdate(ours, rows, device)
    with update.loaded():
        losses = train(update, settings)
    assert losses == pytest.approx(train(SacUpdate(numpys, rows), settings), rel=1e-4, abs=1e-5)
    for name in ("actor", "critic", "target"):
        apart = np.abs(getattr(ours, name).params - getattr(numpys, name).params)
        # Adam divides by the gradient's size: where that is nothing but rounding, the sign of a step is chance.
        assert np.quantile(apart, 0.99) < 1e-5 and apart.max() < RATES["critic_rate"], name
    assert ours.log_alpha == pytest.approx(numpys.log_alpha, abs=1e-6)
    for name in ("actor_adam", "critic_adam", "alpha_adam"):
        assert getattr(ours, name).steps == getattr(numpys, name).steps
        assert getattr(ours, name).mean == pytest.approx(getattr(numpys, name).mean, abs=1e-5), name


def test_a_device_that_computes_something_else_or_fails_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    settings = SacUpdateSettings(**RATES)
    p = parameters(5, 2, (8,), (8,))
    before = p.actor.params.copy()
    assert agrees(p, 16, "cpu", settings)
    assert (p.actor.params == before).all() and p.actor_adam.steps == 0
    with caplog.at_level(logging.WARNING):
        assert not agrees(p, 16, "meta", settings)  # a device without memory: nothing comes back from it
    assert "meta" in caplog.text and "the CPU does it" in caplog.text


def test_a_model_whose_device_fails_learns_on_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = []
    for device in ("cpu", "meta"):
        algorithm = SacAlgorithm(SPACE, SacSettings(net_arch=(16, 16)).over(FLEET_SAC), 3, device)
        fill(algorithm)
        assert algorithm.update(4) == algorithm.update(4) == 4
        found.append(algorithm.model.numpy_parameters().actor.params.copy())
        assert algorithm.model.update_device == "cpu"
    assert (found[0] == found[1]).all()
    assert caplog.text.count("SAC update for") == 2, "one for each model"


def test_training_goes_on_over_calls_and_leaves_the_model_on_the_cpu() -> None:
    models = []
    for kind in ("numpy", "torch"):
        algorithm = SacAlgorithm(SPACE, SacSettings(net_arch=(16, 16)).over(FLEET_SAC), 3)
        fill(algorithm)
        start = algorithm.model.numpy_parameters().actor.params.copy()
        algorithm.model.compiled = False
        if kind == "torch":
            p = algorithm.model.numpy_parameters()
            on_device = DeviceSacUpdate(p, algorithm.settings.batch_size, "cpu")
            algorithm.model._updates = {(algorithm.settings.batch_size, False, "cpu"): on_device}
        algorithm.update(10)  # in strides of 8: the parameters go to the device and back twice
        models.append(algorithm.model)
        assert {p.device.type for p in algorithm.model.policy.parameters()} == {"cpu"}
    ours, theirs = (model.numpy_parameters().actor.params for model in models)
    # Adam divides by the gradient's size: where that is nothing but rounding, the sign of a step is chance.
    assert np.quantile(np.abs(ours - theirs), 0.9) < 2e-4 < np.abs(ours - start).mean()


def fill(algorithm: SacAlgorithm) -> None:
    algorithm.take(stream(), rows_of(400, is_new=True))


def test_auto_takes_a_gpu_for_large_networks_only() -> None:
    assert resolve_device("auto", (LEAST_UNITS - 1, 8)) == "cpu" == resolve_device("cpu", (512, 512))
    assert resolve_device("auto", (8, LEAST_UNITS)) == ("cuda" if HAS_GPU else "cpu")


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_a_gpu_that_is_asked_for_and_missing_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"device is cuda, but torch .* finds no GPU here; use auto or cpu"):
        make_algorithm(SPACE, SacSettings(net_arch=(8, 8)), 0, "cuda")


def test_ppo_says_that_it_computes_on_the_cpu() -> None:
    with pytest.raises(ConfigError, match="PPO computes on the CPU"):
        make_algorithm(SPACE, PpoSettings(net_arch=(8, 8)), 0, "cuda")
    assert make_algorithm(SPACE, PpoSettings(net_arch=(8, 8)), 0, "auto").algo == "ppo"
