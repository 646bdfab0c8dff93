"""Rows pay for gradient steps; arrears beyond a bound are forgotten."""

import numpy as np

from floop_robot.learn.utd_budget import LATENCY_WINDOW, LatencyMeter, UtdBudget


def test_only_whole_steps_are_owed_and_fractions_add_up() -> None:
    budget = UtdBudget(10.0)
    budget.add(0.75)
    assert budget.owed == 0
    budget.add(0.75)
    assert budget.owed == 1
    budget.spend(1)
    budget.add(0.5)
    assert budget.owed == 1


def test_arrears_are_bounded_and_spending_more_owes_nothing() -> None:
    budget = UtdBudget(10.0)
    budget.add(1000.0)
    assert budget.owed == 10
    budget.spend(64)  # PPO does whole updates
    assert budget.owed == 0
    budget.add(1.0)
    assert budget.owed == 1


def test_without_rows_there_is_no_latency() -> None:
    meter = LatencyMeter()
    meter.step_begins()
    assert np.isnan(meter.percentiles).all()


def test_rows_from_before_it_began_are_left_out() -> None:
    meter = LatencyMeter(since_ns=1_000)
    meter.arrived(np.array([10, 1_000]))
    meter.step_begins()
    assert np.isnan(meter.percentiles).all()


def test_the_latest_latencies_are_kept() -> None:
    meter = LatencyMeter(since_ns=0)
    meter.arrived(np.ones(LATENCY_WINDOW, np.int64))  # 1970: very late
    meter.step_begins()
    assert meter.percentiles[0] > 1e9
    import time

    meter.arrived(np.full(LATENCY_WINDOW, time.time_ns()))
    meter.step_begins()
    assert meter.percentiles[1] < 60.0
