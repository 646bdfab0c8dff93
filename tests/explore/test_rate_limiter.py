"""ExplorationRateLimiter: bounded, and patient with a silent learner."""

from __future__ import annotations

from floop_robot.explore.rate_limiter import PATIENCE_S, ExplorationRateLimiter


def test_exploration_is_bounded_and_returns_after_silence() -> None:
    limiter = ExplorationRateLimiter(50, 0.0)
    assert not limiter.may_explore(0.0)
    for _ in range(5):
        limiter.new_weights(1.0)
    limiter.spend(100)
    assert not limiter.may_explore(1.0)
    assert limiter.may_explore(1.1 + PATIENCE_S)
    limiter.spend(60)
    assert not limiter.may_explore(1.2 + PATIENCE_S)
