"""PackedEpisodes episodes come back as the rows they were, within half precision."""

import numpy as np
import pytest

from floop_robot.replay.packed_episodes import choose_episodes, pack_episodes, unpack_episodes
from floop_robot.replay.transitions import Transitions, concatenate


def episode(length: int, number: int, terminated: bool) -> Transitions:
    rng = np.random.default_rng(number)
    walk = rng.uniform(-2, 2, (length + 1, 4)).astype(np.float32)
    episode_end, ended = np.zeros(length, np.bool_), np.zeros(length, np.bool_)
    episode_end[-1], ended[-1] = True, terminated
    action = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    return Transitions(
        obs=walk[:-1], next_obs=walk[1:], action=action, action_requested=action,
        reward=rng.uniform(-5, 30, length).astype(np.float32), terminated=ended, episode_end=episode_end,
        log_prob=np.full(length, np.nan, np.float32), policy_version=np.zeros(length, np.int64),
        episode=np.full(length, number), stamp_ns=np.zeros(length, np.int64), is_new=np.zeros(length, np.bool_),
    )  # fmt: skip


def test_rows_survive_packing() -> None:
    episodes = [episode(length, i, i % 2 == 0) for i, length in enumerate((30, 1, 50, 20))]
    packed, whole = pack_episodes(episodes), concatenate(episodes)
    rows = unpack_episodes(packed)
    for name in ("obs", "next_obs", "action", "reward"):
        assert getattr(rows, name) == pytest.approx(getattr(whole, name), abs=0.02, rel=1e-3), name
    for name in ("terminated", "episode_end", "episode"):
        assert (getattr(rows, name) == getattr(whole, name)).all(), name
    assert sum(array.nbytes for array in packed.values()) < 0.4 * sum(
        getattr(whole, name).nbytes for name in ("obs", "next_obs", "action", "reward")
    )


def test_a_choice_keeps_whole_episodes_within_the_limit() -> None:
    episodes = [episode(5, i, True) for i in range(20)]
    chosen = choose_episodes(episodes, 33, np.random.default_rng(0))
    assert [len(rows) for rows in chosen] == [5] * 6
    assert len({int(rows.episode[0]) for rows in chosen}) == 6


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    packed = pack_episodes([episode(5, 0, True)])
    packed["reward"] = packed["reward"][:-1]
    with pytest.raises(ValueError, match="lengths"):
        unpack_episodes(packed)


def test_values_that_half_precision_does_not_hold_are_kept() -> None:
    rows = episode(3, 0, False)
    rows.obs[1, 0] = 1e6
    assert unpack_episodes(pack_episodes([rows])).obs[1, 0] == 1e6
