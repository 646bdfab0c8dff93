"""StallLimit: nothing is given up before successes are known; then what stalls much longer than they did."""

from __future__ import annotations

import itertools

from floop_robot.explore.stall_limit import ENOUGH, MARGIN, StallLimit

SUCCESS = [1.0, 1.0, -0.1, -0.1, -0.1, -0.1, 3.0]


def given_up_after(limit: StallLimit, rewards: list[float]) -> int | None:
    give_up = limit.watch()
    return next((step for step, reward in enumerate(rewards, 1) if give_up(reward)), None)


def test_an_episode_is_given_up_when_it_stalls_longer_than_successes_did() -> None:
    limit = StallLimit()
    lost = [1.0, 1.0, *[-0.1] * 50]
    for _ in range(ENOUGH):
        assert given_up_after(limit, lost) is None
        limit.succeeded(SUCCESS)
    assert limit.steps == MARGIN * 4
    assert given_up_after(limit, lost) == 2 + 7
    assert given_up_after(limit, SUCCESS) is None


def test_with_sparse_rewards_the_limit_is_the_length_of_successes() -> None:
    limit = StallLimit()
    for length in itertools.islice(itertools.cycle((10, 20)), ENOUGH):
        limit.succeeded([*[0.0] * (length - 1), 1.0])
    assert given_up_after(limit, [0.0] * 100) == int(MARGIN * 19) + 1
