from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floop_robot.robot.messages import Cause, SafetyMode
from floop_robot.robot.watchdog import Reaction, WatchdogSettings, react

SETTINGS = WatchdogSettings.of(policy_rate_hz=12.5, observation_timeout_s=0.1)
STALE = Reaction(SafetyMode.STOPPING, Cause.STALE_STATE)
LATE = Reaction(SafetyMode.STOPPING, Cause.LATE_TARGET)


@pytest.mark.parametrize(
    ("state_age", "target_age", "reaction"),
    [
        (None, None, Reaction(SafetyMode.WAITING)),
        (None, 0.0, Reaction(SafetyMode.WAITING)),
        (0.01, None, Reaction(SafetyMode.HOLDING)),
        (0.01, 0.01, Reaction(SafetyMode.FOLLOWING)),
        (0.01, 0.079, Reaction(SafetyMode.FOLLOWING)),
        (0.01, 0.081, Reaction(SafetyMode.HOLDING)),
        (0.01, 0.239, Reaction(SafetyMode.HOLDING)),
        (0.01, 0.241, LATE),
        (0.1, 0.01, Reaction(SafetyMode.FOLLOWING)),
        (0.101, 0.01, STALE),
        (0.101, None, STALE),
        (math.nan, 0.01, STALE),
        (-0.5, 0.01, STALE),
        (-0.001, -0.001, Reaction(SafetyMode.FOLLOWING)),
        (0.01, math.nan, LATE),
        (0.01, -3.0, LATE),
    ],
)
def test_ages_decide(state_age: float | None, target_age: float | None, reaction: Reaction) -> None:
    assert react(SETTINGS, False, state_age, target_age) == reaction
    assert react(SETTINGS, True, state_age, target_age) == Reaction(SafetyMode.ESTOP, Cause.ESTOP)


ages = st.one_of(st.none(), st.floats())


@given(ages, ages)
def test_it_follows_only_recent_targets_with_recent_states(state_age: float | None, target_age: float | None) -> None:
    reaction = react(SETTINGS, False, state_age, target_age)
    if reaction.mode is SafetyMode.FOLLOWING:
        assert state_age is not None and -0.01 < state_age <= 0.1
        assert target_age is not None and -0.01 < target_age < 0.08
