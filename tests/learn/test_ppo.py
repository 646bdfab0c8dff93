"""PPO learns from streamed rows: the right advantages, young rows only, dropped ones counted."""

import msgspec
import numpy as np
import pytest
import torch as th

from floop_robot.learn.ppo import generalized_advantages
from floop_robot.learn.ppo_algorithm import PpoAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.transitions import Transitions, concatenate
from floop_robot.spec.hyperparameters import PpoSettings
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.tasks import get_task

SPACE = PolicySpace.of(get_task("floop/Pick-v0").spec)
OBS, ACT = SPACE.observation.size, SPACE.action.size


def rows_of(n: int, version: int = 1, seed: int = 0, ended: bool = True) -> Transitions:
    rng = np.random.default_rng(seed)
    walk = (SPACE.observation.offset + SPACE.observation.scale * rng.standard_normal((n + 1, OBS))).astype(np.float32)
    episode_end = np.zeros(n, np.bool_)
    episode_end[-1] = ended
    return Transitions(
        obs=walk[:-1], next_obs=walk[1:], action=np.zeros((n, ACT), np.float32),
        action_requested=rng.standard_normal((n, ACT)).astype(np.float32) * 0.3,
        reward=rng.standard_normal(n).astype(np.float32), terminated=episode_end & (rng.random() < 0.5),
        episode_end=episode_end,
        log_prob=np.full(n, -1.0, np.float32), policy_version=np.full(n, version),
        episode=np.full(n, seed), stamp_ns=np.zeros(n, np.int64), is_new=np.zeros(n, np.bool_),
    )  # fmt: skip


def stream(robot: str = "explorer_1", source: Source = Source.EXPLORER) -> StreamInfo:
    return StreamInfo(robot, "b", "floop/Pick-v0", Ids("contract", "limits", "reward"), source)


def algorithm(n_steps: int = 64, max_policy_lag: int = 2, **more: object) -> PpoAlgorithm:
    settings = PpoSettings(
        n_steps=n_steps, batch_size=32, n_epochs=2, target_kl=None, max_policy_lag=max_policy_lag, **more
    )  # type: ignore[arg-type]
    return PpoAlgorithm(SPACE, settings, 0)


def naive_advantages(
    rows: Transitions, values: np.ndarray, nexts: np.ndarray, gamma: float, decay: float
) -> np.ndarray:
    """The definition: a decaying sum of one-step errors up to the end of the stretch."""
    errors = rows.reward + gamma * nexts * ~rows.terminated - values
    out = np.zeros(len(rows))
    for start in range(len(rows)):
        weight = 1.0
        for i in range(start, len(rows)):
            out[start] += weight * errors[i]
            weight *= gamma * decay
            if rows.episode_end[i] or (i + 1 < len(rows) and (rows.next_obs[i] != rows.obs[i + 1]).any()):
                break
    return out


def test_advantages_follow_their_definition_across_ends_and_gaps() -> None:
    parts = [rows_of(5, seed=1), rows_of(7, seed=2, ended=False), rows_of(4, seed=3)]
    rows = concatenate(parts)
    rng = np.random.default_rng(0)
    values, nexts = rng.standard_normal((2, len(rows))).astype(np.float32)
    found = generalized_advantages(rows, values, nexts, 0.9, 0.8)
    assert found == pytest.approx(naive_advantages(rows, values, nexts, 0.9, 0.8), abs=1e-4)


def test_an_update_needs_its_rows_and_uses_them_up() -> None:
    model = algorithm()
    worth = model.take(stream(), rows_of(40))
    assert not model.ready
    assert model.update(100) == 0
    worth += model.take(stream("explorer_2"), rows_of(40, seed=1))
    assert model.ready
    assert worth == pytest.approx(80 * 2 / 32)
    assert model.update(100) == 2 * 64 // 32
    assert model.progress.new_rows == 80 - 64
    assert not model.ready


def test_rows_beyond_the_staleness_budget_are_dropped_and_counted() -> None:
    model = algorithm(max_policy_lag=2)
    for version in (1, 2, 3):
        model.take(stream(), rows_of(10, version, version))
    model.on_weights_published(4)
    assert (model.progress.stale_rows, model.progress.new_rows) == (10, 20)
    model.on_weights_published(5)
    assert (model.progress.stale_rows, model.progress.new_rows) == (20, 10)
    model.take(stream(), rows_of(5, 1, 9))  # late on arrival
    assert (model.progress.stale_rows, model.progress.new_rows) == (25, 10)


def test_only_sampled_rows_of_explorers_are_on_policy() -> None:
    model = algorithm()
    model.take(stream(source=Source.ROBOT), rows_of(30))
    mean = rows_of(30)
    mean.log_prob[:] = np.nan
    model.take(stream(), mean)
    assert model.progress.new_rows == 0


def test_the_actor_rests_while_values_warm_up_then_moves() -> None:
    model = algorithm(value_warmup_updates=1)

    def actor() -> th.Tensor:
        return model.model.policy.action_net.weight.detach().clone()  # type: ignore[operator, union-attr, return-value]

    before = actor()
    for _ in range(2):
        model.take(stream(), rows_of(64))
        values = model.model.values(SPACE.normalizer(rows_of(64).obs)).copy()
        model.update(100)
        assert (model.model.values(SPACE.normalizer(rows_of(64).obs)) != values).any()
        moved = bool((actor() != before).any())
        before = actor()
    assert moved
    assert model.progress.gradient_steps == 2 * 4
    assert msgspec.msgpack.encode(model.progress), "the learner's figures travel"
