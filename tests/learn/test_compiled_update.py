"""Compiled code computes what the numpy update computes, for each instruction set that this machine has."""

from typing import Any

import numpy as np
import pytest

from floop_robot.learn.compiled_update import (
    INSTRUCTION_SETS,
    MAX_LAYERS,
    CompiledSacUpdate,
    available,
    instruction_set,
    make_update,
)
from floop_robot.learn.sac_update import SacParameters, SacUpdate, SacUpdateSettings

RATES = {"actor_rate": 1e-3, "critic_rate": 2e-3, "alpha_rate": 3e-3, "tau": 0.05, "target_entropy": -3.0}
STEPS = 5
OPTIONS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"fixed_alpha": 0.2, "update_target": False},
        {"value_range": (-0.3, 0.3), "imitation_weight": 2.0},
        {"imitation_weight": 2.0, "actor_uses_target_critics": True},
    ],
    ids=["stock", "fixed alpha", "imitation", "imitation by target"],
)


@pytest.fixture(params=INSTRUCTION_SETS)
def instructions(request: pytest.FixtureRequest) -> str:
    if not available(request.param):
        pytest.skip(f"no update compiled for {request.param} on this machine")
    return str(request.param)


def parameters(obs: int, action: int, actor: tuple[int, ...], critic: tuple[int, ...]) -> SacParameters:
    p, rng = SacParameters.of_shape(obs, action, actor, critic), np.random.default_rng(3)
    for net in (p.actor, p.critic, p.target):
        for layer in net.layers:
            layer.weight[...] = rng.normal(0.0, layer.weight.shape[2] ** -0.5, layer.weight.shape)
            layer.bias[...] = rng.normal(0.0, 0.1, layer.bias.shape)
    # Near ±1 the log of 1 - action² depends on the action's last digits, in any arithmetic: such draws are kept rare.
    p.actor.layers[-1].weight[...] *= 0.2
    return p


def train(update: SacUpdate | CompiledSacUpdate, settings: SacUpdateSettings) -> list[float]:
    """`STEPS` updates on batches that the seed alone determines; returns all losses."""
    batch, rng, losses = update.batch, np.random.default_rng(5), []
    for _ in range(STEPS):
        batch.obs_act[...] = rng.uniform(-0.9, 0.9, batch.obs_act.shape)
        batch.next_obs_act[...] = rng.uniform(-0.9, 0.9, batch.obs_act.shape)
        batch.noise[...] = rng.normal(size=batch.noise.shape)
        batch.reward[...], batch.success[...] = rng.normal(size=(2, update.rows)) > 0.0
        batch.discount[...] = 0.97 * (rng.random(update.rows) < 0.9)
        losses += update.step(settings)
    return losses


@pytest.mark.parametrize(
    "shape",
    [
        (37, 5, (64, 64), (64, 64), 256),
        (6, 3, (16,), (40, 24, 8), 61),  # no size a multiple of what processors like
        (70, 20, (33, 32), (100,), 3),
        (1, 1, (1,), (1,), 1),
    ],
    ids=["pick", "odd", "wide", "smallest"],
)
@OPTIONS
def test_it_learns_as_numpy_does(
    instructions: str, shape: tuple[int, int, tuple[int, ...], tuple[int, ...], int], options: dict[str, Any]
) -> None:
    settings, rows = SacUpdateSettings(**RATES, **options), shape[4]
    ours, numpys = parameters(*shape[:4]), parameters(*shape[:4])
    losses = train(CompiledSacUpdate(ours, rows, instructions), settings)
    assert losses == pytest.approx(train(SacUpdate(numpys, rows), settings), rel=1e-4, abs=1e-5)
    for name in ("actor", "critic", "target"):
        assert getattr(ours, name).params == pytest.approx(getattr(numpys, name).params, abs=1e-5), name
    assert ours.log_alpha == pytest.approx(numpys.log_alpha, abs=1e-6)
    for name in ("actor_adam", "critic_adam", "alpha_adam"):
        assert getattr(ours, name).steps == getattr(numpys, name).steps
        assert getattr(ours, name).mean == pytest.approx(getattr(numpys, name).mean, abs=1e-5), name


def test_extreme_outputs_stay_finite_and_alike(instructions: str) -> None:
    losses = []
    for compiled in (True, False):
        p = parameters(4, 2, (8,), (8,))
        p.actor.layers[-1].bias[0] = [30.0, -0.001, -25.0, 5.0]  # saturated, tiny; below and above the bounds
        update = CompiledSacUpdate(p, 16, instructions) if compiled else SacUpdate(p, 16)
        losses.append(train(update, SacUpdateSettings(**RATES)))
        assert np.isfinite(p.actor.params).all()
    assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-4)


def test_nan_shows_as_in_numpy(instructions: str) -> None:
    """A healthy loss would hide that an observation was not."""
    for compiled in (True, False):
        p = parameters(4, 2, (8, 8), (8,))
        update = CompiledSacUpdate(p, 16, instructions) if compiled else SacUpdate(p, 16)
        update.batch.obs_act[...] = 0.1
        update.batch.next_obs_act[...] = 0.1
        update.batch.obs_act[3, 0] = np.nan
        losses = update.step(SacUpdateSettings(**RATES))
        assert np.isnan([losses.critic, losses.actor]).all()
        assert np.isnan(p.critic.params).any() and np.isnan(p.actor.params).any()


def test_numpy_takes_what_compiled_code_does_not() -> None:
    assert type(make_update(SacParameters.of_shape(3, 1, (), ()), 8, compiled=True)) is SacUpdate
    deep = parameters(3, 1, (4,) * MAX_LAYERS, (4,))
    assert type(make_update(deep, 8, compiled=True)) is SacUpdate
    flat = parameters(3, 1, (4,), (4,))
    assert type(make_update(flat, 8, compiled=False)) is SacUpdate
    expected = CompiledSacUpdate if instruction_set() else SacUpdate
    assert type(make_update(flat, 8, compiled=True)) is expected


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match="not compiled for sse9"):
        CompiledSacUpdate(parameters(3, 1, (4,), (4,)), 8, "sse9")
