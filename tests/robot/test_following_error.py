"""An arm that does not follow is noticed; one that lags, overshoots or sags is not."""

from __future__ import annotations

import math
from collections import deque

import pytest

from floop_robot.robot.following_error import FollowingError, FollowingErrorSettings

RATE_HZ = 50.0
LIMIT = FollowingErrorSettings(limit_rad=0.05, window_s=1.0)


def first_error(commanded: object, measured: object, seconds: float = 10.0) -> float | None:
    """When the watch speaks, s; `commanded` and `measured` are functions of the time."""
    watch = FollowingError(("shoulder",), RATE_HZ, LIMIT)
    for i in range(int(seconds * RATE_HZ)):
        t = i / RATE_HZ
        if why := watch.check((commanded(t),), (measured(t),)):  # type: ignore[operator]
            assert "joint shoulder does not follow" in why and "\n" not in why
            return t
    return None


@pytest.mark.parametrize("lag_s", [0.0, 0.1, 0.4, 0.9])
@pytest.mark.parametrize("speed", [0.5, 3.0])
def test_a_lag_below_the_window_is_no_error(lag_s: float, speed: float) -> None:
    assert first_error(lambda t: speed * t, lambda t: speed * max(0.0, t - lag_s)) is None
    assert first_error(lambda t: math.sin(speed * t), lambda t: math.sin(speed * (t - lag_s))) is None


def test_overshoot_and_sag_below_the_limit_are_no_error() -> None:
    assert first_error(lambda t: min(t, 1.0), lambda t: min(t, 1.0) * 1.049) is None
    assert first_error(lambda t: 0.3, lambda t: 0.3 - 0.049) is None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_arm_that_stands_is_noticed_after_the_window(sign: float) -> None:
    at_s = first_error(lambda t: sign * min(0.1, max(0.0, t - 2.0)), lambda t: 0.0)
    assert at_s == pytest.approx(2.05 + LIMIT.window_s, abs=0.05)


def test_an_arm_that_goes_the_other_way_is_noticed() -> None:
    assert first_error(lambda t: 0.3 * t, lambda t: -0.3 * t) is not None


def test_it_begins_anew_after_a_stop() -> None:
    watch, seen = FollowingError(("a", "b"), RATE_HZ, LIMIT), deque[str]()
    for _ in range(40):
        seen.append(watch.check((1.0, 0.0), (0.0, 0.0)))
    watch.clear()
    for _ in range(40):
        seen.append(watch.check((1.0, 0.0), (0.0, 0.0)))
    assert not any(seen)
    for _ in range(10):
        seen.append(watch.check((1.0, 0.0), (0.0, 0.0)))
    assert seen[-1].startswith("joint a does not follow: it is 1.00 rad")
