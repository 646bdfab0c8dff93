from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floop_robot.robot.messages import Cause, SafetyMode, SafetyOrder
from floop_robot.robot.watchdog import Reaction, StopLatch, WatchdogSettings, react

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
def test_it_follows_only_what_is_fresh(state_age: float | None, target_age: float | None) -> None:
    reaction = react(SETTINGS, False, state_age, target_age)
    if reaction.mode is SafetyMode.FOLLOWING:
        assert state_age is not None and -0.01 < state_age <= 0.1
        assert target_age is not None and -0.01 < target_age < 0.08


@given(st.lists(st.booleans(), max_size=20))
def test_the_latch_opens_only_by_release(stops: list[bool]) -> None:
    latch = StopLatch()
    for i, stop in enumerate(stops):
        latch.take(SafetyOrder(stop=stop, who=f"person {i}"))
        assert latch.is_set == stop
        if stop:
            first = next(j for j in range(i, -1, -1) if j == 0 or not stops[j - 1])
            assert latch.reason == f"stopped by person {first}"
        else:
            assert latch.reason == ""


def test_a_stop_outlives_its_process_and_a_release_does_too(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    latch = StopLatch(path)
    latch.take(SafetyOrder(stop=True, who="ann", why="smoke"))
    latch.keep()
    assert path.read_text() == "stopped by ann: smoke\n"
    again = StopLatch(path)
    assert again.is_set
    again.take(SafetyOrder(stop=True, who="bob"))
    again.take(SafetyOrder(stop=False, who="bob"))
    again.keep()
    assert not StopLatch(path).is_set
    again.keep()


def test_a_disk_that_refuses_does_not_open_the_latch(tmp_path: Path) -> None:
    latch = StopLatch(tmp_path / "missing" / "stopped")
    latch.take(SafetyOrder(stop=True, who="ann"))
    with pytest.raises(OSError):
        latch.keep()
    assert latch.is_set


def test_a_stop_that_was_only_half_written_down_is_forgotten_with_its_release(tmp_path: Path) -> None:
    folder = tmp_path / "links"
    path = folder / "stopped"
    latch = StopLatch(path)
    latch.take(SafetyOrder(stop=True, who="ann"))
    with pytest.raises(OSError):
        latch.keep()  # the folder is not there
    folder.mkdir()
    path.write_text("what half a write leaves\n")
    assert not latch.is_kept
    latch.take(SafetyOrder(stop=False, who="ann"))
    assert not latch.is_kept  # the release has to be written down, whatever became of the stop
    latch.keep()
    assert not path.exists()
    assert latch.is_kept


def test_a_release_of_what_was_before_another_stop_is_none() -> None:
    latch = StopLatch()
    latch.take(SafetyOrder(stop=True, who="ann"))
    seen = latch.stops
    latch.take(SafetyOrder(stop=True, who="bob"))
    latch.take(SafetyOrder(stop=False, who="ann", after=seen))
    assert latch.is_set
    latch.take(SafetyOrder(stop=False, who="ann", after=latch.stops))
    assert not latch.is_set
