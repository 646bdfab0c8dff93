"""Batches are composed as configured, and one robot can't push the others out."""

import numpy as np
import pytest
from gymnasium import spaces

from floop_robot.replay.ring_buffer import MAX_OPEN, Normalizer, RingBuffer
from floop_robot.replay.rlpd_buffer import RlpdReplayBuffer
from floop_robot.replay.sac_batch import SacBatch
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.default_settings import TASK_SAC
from floop_robot.spec.hyperparameters import SacSettings

OBS, ACT = 4, 2
OFFSET, SCALE = np.full(OBS, 2.0, np.float32), np.full(OBS, 4.0, np.float32)


def rows_of(numbers: range, episode: int = 0, terminated: bool = False) -> Transitions:
    n = len(numbers)
    column = np.array(numbers, np.float32)
    return Transitions(
        obs=np.repeat(column[:, None], OBS, 1), action=np.full((n, ACT), 0.5, np.float32),
        action_requested=np.zeros((n, ACT), np.float32), next_obs=np.repeat(column[:, None] + 1, OBS, 1),
        reward=column, terminated=np.full(n, terminated), episode_end=np.zeros(n, np.bool_),
        log_prob=np.full(n, np.nan, np.float32), policy_version=np.zeros(n, np.int64),
        episode=np.full(n, episode), stamp_ns=np.zeros(n, np.int64), is_new=np.zeros(n, np.bool_),
    )  # fmt: skip


def replay(**config: object) -> RlpdReplayBuffer:
    space = spaces.Box(-np.inf, np.inf, (OBS,), np.float32), spaces.Box(-1, 1, (ACT,), np.float32)
    settings = SacSettings(**{"rare_fraction": 0.0, "reward_scale": 1.0, **config}).over(TASK_SAC)  # type: ignore[arg-type]
    return RlpdReplayBuffer(*space, Normalizer(OFFSET, SCALE), settings, 0)


def rewards(buffer: RlpdReplayBuffer, count: int = 400) -> np.ndarray:
    batch = SacBatch(count, OBS, ACT)
    buffer.fill(batch, 0.9)
    return batch.reward.copy()


def test_a_batch_holds_the_rows_that_went_in_normalized() -> None:
    buffer = replay()
    buffer.extend("a", rows_of(range(10)), prior=True)
    buffer.extend("b", rows_of(range(100, 110), terminated=True), prior=False)
    batch = SacBatch(300, OBS, ACT)
    buffer.fill(batch, 0.9)
    raw = batch.obs_act[:, 0] * 4 + 2
    assert raw == pytest.approx(batch.reward, abs=1e-4)
    assert batch.next_obs_act[:, 0] * 4 + 2 == pytest.approx(batch.reward + 1, abs=1e-4)
    assert (batch.obs_act[:, OBS:] == 0.5).all()
    assert batch.discount == pytest.approx(np.where(batch.reward >= 100, 0.0, 0.9))
    assert {int(r) for r in batch.reward} == {*range(10), *range(100, 110)}


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.9])
def test_the_share_of_known_tasks_is_exact(fraction: float) -> None:
    buffer = replay(prior_fraction=fraction)
    buffer.extend("a", rows_of(range(5)), prior=True)
    assert (rewards(buffer) < 100).all(), "without new rows all are of known tasks"
    buffer.extend("a", rows_of(range(100, 3000)), prior=False)
    assert np.mean(rewards(buffer) < 100) == fraction


def test_a_chatty_robot_keeps_to_its_quota() -> None:
    buffer = replay(buffer_size=50)
    buffer.extend("quiet", rows_of(range(50)), prior=False)
    for start in range(1000, 3000, 7):
        buffer.extend("chatty", rows_of(range(start, start + 7)), prior=False)
    assert len(buffer.online) == 2 * 50
    drawn = rewards(buffer, 4000)
    assert np.mean(drawn < 1000) == pytest.approx(0.5, abs=0.05)
    newest = range(3002 - 50, 3003)
    assert {int(r) for r in drawn if r >= 1000} <= set(newest), "the oldest rows go first"


@pytest.mark.parametrize("rare_fails", [True, False])
def test_episodes_of_the_rarer_outcome_get_their_share(rare_fails: bool) -> None:
    buffer = replay(rare_fraction=0.5)
    for episode in range(10):
        buffer.extend("a", rows_of(range(100 * episode, 100 * episode + 20), episode), prior=False, boot_id="x")
        buffer.close_episode("a", "x", episode, failed=(episode == 3) == rare_fails)
    drawn = rewards(buffer, 2000)
    assert np.mean(drawn // 100 == 3) == pytest.approx(0.5 + 0.05, abs=0.04)
    buffer.extend("a", rows_of(range(2000, 2020), 3), prior=False, boot_id="y")  # same number, other boot
    buffer.close_episode("a", "y", 3, failed=not rare_fails)
    assert np.mean(rewards(buffer, 2000) // 100 == 3) == pytest.approx(0.5 + 0.05, abs=0.04)


def test_episodes_that_never_end_are_given_up_and_those_that_run_are_not() -> None:
    region = RingBuffer(OBS, ACT, 4000, Normalizer(OFFSET, SCALE))
    for episode in range(1, MAX_OPEN + 500):
        region.extend("a", rows_of(range(episode, episode + 1), episode), "x")
        region.extend("b", rows_of(range(1), 0), "x")  # a long one, still heard of
    assert len(region._open) == MAX_OPEN
    region.close(("a", "x", 1), failed=True)  # given up: changes nothing
    assert not region._rare_places().size
    region.close(("a", "x", MAX_OPEN + 400), failed=True)
    region.close(("b", "x", 0), failed=False)
    assert region._rare_places().size == 1


def test_while_all_episodes_end_alike_all_rows_are_drawn_alike() -> None:
    buffer = replay(rare_fraction=0.5)
    for episode in range(4):
        buffer.extend("a", rows_of(range(100 * episode, 100 * episode + 20), episode), prior=False)
        buffer.close_episode("a", "", episode, failed=True)
    assert np.mean(rewards(buffer, 2000) // 100 == 3) == pytest.approx(0.25, abs=0.04)


def test_a_batch_tells_which_rows_succeeded() -> None:
    buffer = replay()
    for episode in range(6):  # 0 and 1 fail, 2 and 3 succeed, 4 and 5 go on
        buffer.extend("a", rows_of(range(100 * episode, 100 * episode + 20), episode), prior=bool(episode % 2))
    for episode in range(4):
        buffer.close_episode("a", "", episode, failed=episode < 2)
    batch = SacBatch(600, OBS, ACT)
    buffer.fill(batch, 0.9)
    episode_of = batch.reward // 100
    assert set(episode_of.tolist()) == set(range(6))
    assert (batch.success == np.isin(episode_of, (2, 3))).all()
    buffer.extend("a", rows_of(range(900, 920), 9), prior=False)
    buffer.fill(batch, 0.9)
    assert (batch.success == np.isin(batch.reward // 100, (2, 3))).all()


def test_stock_sampling_sees_the_same_rows() -> None:
    buffer = replay()
    buffer.extend("a", rows_of(range(10), terminated=True), prior=True)
    data = buffer.sample(64)
    assert data.observations.shape == (64, OBS)
    assert (data.observations[:, 0] * 4 + 2).numpy() == pytest.approx(data.rewards[:, 0].numpy(), abs=1e-4)
    assert bool((data.dones == 1.0).all())


def test_rows_enter_only_by_slices() -> None:
    with pytest.raises(TypeError, match="extend"):
        replay().add()
