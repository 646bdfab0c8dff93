"""Stamps of the fleet manager: never back for small corrections, never in a wrong year for ever."""

from __future__ import annotations

import calendar
import logging

import pytest

from floop_robot.services.fleet_clock import FleetClock

HOUR_NS = 3600 * 10**9


def year(number: int) -> int:
    return calendar.timegm((number, 6, 1, 0, 0, 0)) * 10**9


class Clocks:
    def __init__(self, wall_ns: int) -> None:
        self.wall_ns, self.steady_ns = wall_ns, 5 * 10**9

    def pass_s(self, seconds: float) -> None:
        self.wall_ns += round(seconds * 1e9)
        self.steady_ns += round(seconds * 1e9)

    def fleet_clock(self, latest_ns: int = 0) -> FleetClock:
        return FleetClock(latest_ns, lambda: self.wall_ns, lambda: self.steady_ns)


def test_small_corrections_change_nothing() -> None:
    clocks = Clocks(year(2026))
    clock = clocks.fleet_clock()
    before = clock()
    clocks.wall_ns -= HOUR_NS
    clocks.pass_s(1.0)
    assert clock() == before + 10**9
    assert clocks.fleet_clock(latest_ns=before)() == before  # the next manager


@pytest.mark.parametrize("wrong", [-(5 * 10**17), 0, year(1969), year(1990), year(2040), year(2076), 2**63])
def test_a_start_in_a_wrong_year_is_not_stamped_for_ever(wrong: int, caplog: pytest.LogCaptureFixture) -> None:
    clocks = Clocks(wrong)
    clock = clocks.fleet_clock(latest_ns=year(2026))
    stamp = clock()
    assert stamp in (year(2026), year(2040))
    clocks.pass_s(60.0)
    clocks.wall_ns = year(2026) + HOUR_NS * 50  # somebody sets it right
    with caplog.at_level(logging.WARNING):
        assert clock() == clocks.wall_ns
    assert "clock was set: stamps go from" in caplog.messages[-1]
    for latest_ns in (stamp, wrong):  # the next manager finds what this one has stamped, or an earlier floop
        assert clocks.fleet_clock(latest_ns)() == clocks.wall_ns
