"""A few kills of a whole small fleet; benchmarks/kills.py does it with many."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.demo.chaos_runner import KillRecord
from floop_robot.demo.kills import KillPlan, KillReport, kill_order, run_kills, time_limit_of
from floop_robot.services.supervision.process_spec import ProcessSpec
from tests.support.blank_struct import blank

SLACK = 3.0
"""Tests share their cores with other tests; the bars are measured alone."""


@pytest.mark.slow
def test_killed_processes_return_to_work_and_nothing_is_lost(tmp_path: Path) -> None:
    names = ("robot_1.policy", "ingest", "fleet_manager", "learner", "gate", "robot_2.safety")
    plan = KillPlan(run_dir=tmp_path / "run", robots=2, names=names, undisturbed_s=4.0, alone_s=4.0)
    report = run_kills(plan)
    assert [kill.name for kill in report.kills] == list(names)
    assert report.rows_acked > 100
    assert report.rows_in_journal > report.rows_acked
    assert report.rows_missing == report.rows_lost == report.rows_doubled == 0
    late = {kill.name: kill.resumed_s for kill in report.kills if kill.resumed_s > SLACK * time_limit_of(kill.kind)}
    assert not late
    assert report.alone_steps_per_s > 0.3 * report.undisturbed_steps_per_s  # a few episodes: resets weigh a lot


def test_kills_are_spread_evenly_over_kinds_and_robots() -> None:
    parts = {f"{robot}.{part}": part for robot in ("robot_1", "robot_2") for part in ("policy", "safety")}
    specs = [ProcessSpec(name=name, module=kind, arguments=()) for name, kind in {**parts, "gate": "gate"}.items()]
    order = kill_order(specs, 12, seed=1)
    assert len(order) == 12
    assert [order.count(name) for name in ("gate", "robot_1.policy", "robot_2.policy")] == [4, 2, 2]
    assert order == kill_order(specs, 12, seed=1)
    assert order != kill_order(specs, 12, seed=2)


def test_a_report_names_everything_that_misses_its_limit() -> None:
    assert blank(KillReport, undisturbed_steps_per_s=10.0, alone_steps_per_s=9.0).failures == []
    kills = (
        blank(KillRecord, name="robot_1.policy", kind="policy", resumed_s=5.5),
        blank(KillRecord, name="learner", kind="learner", resumed_s=14.0),
    )
    report = blank(
        KillReport, kills=kills, rows_missing=2, rows_doubled=1, undisturbed_steps_per_s=10.0, alone_steps_per_s=4.0
    )
    assert report.failures == [
        "robot_1.policy was back after 5.5 s",
        "2 acknowledged rows missing",
        "1 acknowledged rows doubled",
        "the robots did not keep their speed without the central processes",
    ]
