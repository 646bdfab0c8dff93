"""SacAlgorithm: what rows pay for, when it is ready, and whose weights are handed out."""

import msgspec
import numpy as np
import pytest

from floop_robot.learn.checkpoint import Checkpoint
from floop_robot.learn.make_algorithm import make_algorithm
from floop_robot.learn.ppo_algorithm import PpoAlgorithm
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.default_settings import FLEET_SAC
from floop_robot.spec.hyperparameters import ENOUGH_ROWS, PpoSettings, SacSettings
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.tasks import get_task

TASK = get_task("floop/Pick-v0").spec
SPACE = PolicySpace.of(TASK)
SMALL = SacSettings(net_arch=(8, 8), batch_size=16, utd_ratio=2.0, utd_ratio_known=0.25, average_steps=100)


def stream(source: Source = Source.EXPLORER) -> StreamInfo:
    return StreamInfo("explorer_1", "boot", TASK.id, Ids("contract", "limits", "reward"), source)


def rows_of(n: int, *, is_new: bool, episode: int = 0) -> Transitions:
    rng = np.random.default_rng(episode)
    action = rng.uniform(-1, 1, (n, TASK.action.size)).astype(np.float32)
    return Transitions(
        obs=rng.normal(size=(n, TASK.observation.size)).astype(np.float32), action=action, action_requested=action,
        next_obs=rng.normal(size=(n, TASK.observation.size)).astype(np.float32),
        reward=rng.normal(size=n).astype(np.float32), terminated=np.zeros(n, np.bool_),
        episode_end=np.zeros(n, np.bool_), log_prob=np.zeros(n, np.float32), policy_version=np.zeros(n, np.int64),
        episode=np.full(n, episode), stamp_ns=np.zeros(n, np.int64), is_new=np.full(n, is_new),
    )  # fmt: skip


def actor(algorithm: SacAlgorithm) -> np.ndarray:
    return algorithm.model.numpy_parameters().actor.params


def test_rows_of_new_tasks_pay_for_more_updates() -> None:
    algorithm = SacAlgorithm(SPACE, SMALL, 0)
    assert algorithm.take(stream(), rows_of(40, is_new=True)) == 40 * 2.0
    assert algorithm.take(stream(), rows_of(40, is_new=False, episode=1)) == 40 * 0.25
    assert algorithm.take(stream(), None, (EndedEpisode(0, failed=True),)) == 0.0
    assert (algorithm.progress.new_rows, algorithm.progress.prior_rows) == (40, 40)


def test_updates_begin_with_enough_rows() -> None:
    algorithm = SacAlgorithm(SPACE, SMALL, 0)
    algorithm.take(stream(), rows_of(ENOUGH_ROWS - 1, is_new=True))
    assert not algorithm.ready and algorithm.update(5) == 0
    assert np.isnan(algorithm.progress.critic_loss)
    algorithm.take(stream(), rows_of(1, is_new=True, episode=1))
    assert algorithm.ready and algorithm.update(5) == 5
    assert algorithm.progress.gradient_steps == 5
    assert np.isfinite([algorithm.progress.critic_loss, algorithm.progress.actor_loss]).all()


def test_a_buffer_smaller_than_the_rows_to_wait_for_is_full_soon_enough() -> None:
    algorithm = SacAlgorithm(SPACE, msgspec.structs.replace(SMALL, buffer_size=ENOUGH_ROWS), 0, enough_rows=500)
    algorithm.take(stream(), rows_of(600, is_new=True))
    assert algorithm.progress.new_rows == ENOUGH_ROWS
    assert algorithm.ready and algorithm.update(5) == 5


def test_averaged_weights_are_there_only_within_the_context() -> None:
    algorithm = SacAlgorithm(SPACE, SMALL, 0)
    algorithm.take(stream(), rows_of(ENOUGH_ROWS, is_new=True))
    algorithm.update(40)
    live = actor(algorithm).copy()
    with algorithm.averaged_weights():
        averaged = actor(algorithm).copy()
    assert (averaged != live).any()
    assert (actor(algorithm) == live).all()
    assert (algorithm.arrays()["average"] == averaged).all()
    with pytest.raises(RuntimeError), algorithm.averaged_weights():
        raise RuntimeError
    assert (actor(algorithm) == live).all(), "an error leaves the live weights"


def test_a_fixed_entropy_coefficient_stays() -> None:
    algorithm = SacAlgorithm(SPACE, SacSettings(net_arch=(8, 8), batch_size=16, ent_coef=0.05), 0)
    algorithm.take(stream(), rows_of(ENOUGH_ROWS, is_new=True))
    algorithm.update(10)
    assert algorithm.progress.alpha == pytest.approx(0.05)


def test_a_learned_one_starts_at_its_start_value_and_moves() -> None:
    algorithm = SacAlgorithm(SPACE, SacSettings(net_arch=(8, 8), batch_size=16, ent_coef="auto_0.3"), 0)
    algorithm.take(stream(), rows_of(ENOUGH_ROWS, is_new=True))
    algorithm.update(1)
    assert algorithm.progress.alpha == pytest.approx(0.3)
    algorithm.update(20)
    assert algorithm.progress.alpha != pytest.approx(0.3, abs=1e-4)


def test_settings_decide_the_algorithm() -> None:
    assert isinstance(make_algorithm(SPACE, SacSettings(net_arch=(8, 8)).over(FLEET_SAC), 0), SacAlgorithm)
    assert isinstance(make_algorithm(SPACE, PpoSettings(net_arch=(8, 8)), 0), PpoAlgorithm)
    model = make_algorithm(SPACE, SacSettings(net_arch=(8, 8), imitation_weight=3.0).over(FLEET_SAC), 0).model
    assert (model.imitation_weight, model.actor_uses_target_critics) == (3.0, True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["pick", "pick_place"])
def test_shipped_checkpoints_open(name: str) -> None:
    from floop_policies import checkpoint_path

    checkpoint = Checkpoint.load(checkpoint_path(name))
    task = get_task(checkpoint.info.task).spec
    algorithm = SacAlgorithm(PolicySpace.of(task), SacSettings(net_arch=checkpoint.info.hidden).over(FLEET_SAC), 0)
    algorithm.restore(checkpoint.arrays, checkpoint.info.gradient_steps)
    assert algorithm.progress.gradient_steps == checkpoint.info.gradient_steps > 0
    rows = checkpoint.prior_rows(task.observation.size, task.action.size)
    assert rows is not None and not rows.is_new.any()
