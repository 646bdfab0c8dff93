"""ExplorationRateLimiter: bounded, and patient with a silent learner."""

from __future__ import annotations

from floop_robot.explore.rate_limiter import PATIENCE_S, ExplorationRateLimiter


class Clock:
    def __init__(self) -> None:
        self.now_s = 7.0

    def __call__(self) -> float:
        return self.now_s


def test_exploration_is_bounded_and_returns_after_silence() -> None:
    clock = Clock()
    limiter = ExplorationRateLimiter(50, clock)
    assert not limiter.may_explore()
    for _ in range(5):
        limiter.new_weights()
    limiter.spend(60)
    assert limiter.may_explore(), "one unused grant is kept"
    limiter.spend(40)
    clock.now_s += PATIENCE_S
    assert not limiter.may_explore()
    clock.now_s += 0.1
    assert limiter.may_explore(), "the learner is silent"
    limiter.spend(60)
    assert not limiter.may_explore()


def test_new_weights_end_the_wait_and_begin_it_anew() -> None:
    clock = Clock()
    limiter = ExplorationRateLimiter(50, clock)
    clock.now_s += 0.9 * PATIENCE_S
    limiter.new_weights()
    assert limiter.may_explore()
    limiter.spend(50)
    clock.now_s += 0.9 * PATIENCE_S
    assert not limiter.may_explore()
