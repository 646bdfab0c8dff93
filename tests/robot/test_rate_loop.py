from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floop_robot.robot.rate_loop import Histogram, RateLoop, Schedule
from tests.support.waiting import wait_for


def test_deadlines_stay_on_the_grid_without_drift() -> None:
    schedule = Schedule(50.0, start_s=10.0)
    for i in range(100_000):
        assert schedule.due_s == pytest.approx(10.0 + i * 0.02, abs=1e-9)
        schedule.begin(schedule.due_s + 0.001)
    assert (schedule.ticks, schedule.missed) == (100_000, 0)


def test_a_long_tick_skips_slots_and_never_bursts() -> None:
    schedule = Schedule(50.0, start_s=0.0)
    schedule.begin(0.0)
    assert schedule.begin(0.075) == pytest.approx(0.055)
    assert schedule.missed == 2
    assert schedule.due_s == pytest.approx(0.08)
    schedule.begin(0.08)
    assert (schedule.ticks, schedule.missed) == (3, 2)


@given(st.lists(st.floats(0.0, 0.5), max_size=60))
def test_ticks_and_missed_slots_make_up_the_time(delays: list[float]) -> None:
    schedule, now = Schedule(12.5, start_s=3.0), 3.0
    for delay in delays:
        now = max(now, schedule.due_s) + delay
        assert schedule.begin(now) >= 0.0
        assert schedule.due_s > now - 1e-9
        assert schedule.due_s - now <= schedule.period_s + 1e-9
        assert schedule.ticks + schedule.missed == round((schedule.due_s - 3.0) * 12.5)


def test_percentiles_are_right_to_fifteen_percent() -> None:
    durations = np.random.default_rng(0).lognormal(-7.0, 1.0, 5_000)
    histogram = Histogram()
    for d in durations.tolist():
        histogram.add(d)
    timing = histogram.timing()
    assert timing.count == 5_000
    assert timing.max_s == durations.max()
    for found, share in ((timing.p50_s, 50), (timing.p99_s, 99)):
        true = float(np.percentile(durations, share))
        assert true * 0.99 <= found <= true * 1.16


def test_extreme_durations_are_counted() -> None:
    histogram = Histogram()
    for d in (0.0, -1.0, 1e-9, 1e6):
        histogram.add(d)
    assert histogram.timing().count == 4
    assert histogram.timing().max_s == 1e6
    assert Histogram().timing().p99_s == 0.0


def test_a_loop_keeps_its_rate_in_a_thread_of_its_own() -> None:
    times: list[float] = []
    with RateLoop(100.0, times.append, "test-rate") as loop:
        assert "test-rate" in [t.name for t in threading.enumerate()]
        wait_for(lambda: len(times) >= 50)
    stats = loop.stats()
    assert stats.ticks == len(times)
    assert stats.ticks + stats.missed_ticks == pytest.approx((times[-1] - times[0]) * 100, abs=2)
    slots = np.array(times) - times[0]
    assert np.diff(slots).min() > 0
    assert "test-rate" not in [t.name for t in threading.enumerate()]


def test_a_tick_that_takes_too_long_is_counted_as_missed() -> None:
    count = 0

    def tick(_: float) -> None:
        nonlocal count
        count += 1
        if count == 5:
            time.sleep(0.055)  # the load itself, not a synchronisation

    with RateLoop(100.0, tick, "test-slow") as loop:
        wait_for(lambda: count >= 10)
    assert loop.stats().missed_ticks >= 4
    assert loop.stats().busy.max_s >= 0.055


def test_a_tick_that_raises_ends_the_loop_and_is_raised_to_whoever_joins() -> None:
    def tick(_: float) -> None:
        raise ValueError("broken")

    loop = RateLoop(100.0, tick, "test-broken")
    loop.start()
    with pytest.raises(ValueError, match="broken"):
        loop.join(5.0)
    assert loop.stats().ticks == 1


def test_loops_with_a_phase_tick_at_the_same_places_of_the_clock() -> None:
    ticks: list[float] = []
    with RateLoop(50.0, ticks.append, "phased", phase_s=0.013):
        wait_for(lambda: len(ticks) >= 50)
    late = [(t - 0.013) % 0.02 for t in ticks]
    # On a busy machine many are late; at another phase next to none would be there.
    assert sum(tick < 0.005 for tick in late) >= 10


def test_an_urgent_loop_goes_first_where_the_system_lets_it() -> None:
    def may() -> bool:
        before = os.sched_getscheduler(0)
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            return False
        os.sched_setscheduler(0, before, os.sched_param(0))
        return True

    seen: list[int] = []

    def look(_: float) -> None:
        seen.append(os.sched_getscheduler(threading.get_native_id()))

    with RateLoop(100.0, look, "urgent", realtime=True):
        wait_for(lambda: len(seen) >= 3)
    assert set(seen) == {os.SCHED_RR if may() else os.SCHED_OTHER}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
