"""The gate's reports: one line each, bounded, readable after a kill."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from floop_robot.durable.checked_json import seal
from floop_robot.gate.report import TrialReport
from floop_robot.gate.report_log import NAMES, ReportLimits, ReportLog, read_reports
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import suite_result
from floop_robot.services.storage_use import REPORT_FILES
from floop_robot.spec.verdict import Decision, Verdict
from tests.support.sample_policies import skilled

DAY_NS = 86400 * 10**9
START_NS = 1_780_000_000 * 10**9


def report(number: int, judged_ns: int = START_NS) -> TrialReport:
    verdict = Verdict(
        decision=Decision.REJECTED,
        candidate_sha256=f"{number:064x}",
        incumbent_version=1,
        suites=(suite_result("known tasks", []),),
        alpha=0.05,
        seed=number,
        reason=f"worse, for the {number}. time",
        duration_s=1.5,
    )
    candidate = skilled().manifest
    return TrialReport(
        verdict=verdict, candidate=candidate, target_tasks=TargetTasks(), resolved=(), pairs=(), judged_ns=judged_ns
    )


def seeds(folder: Path) -> list[int]:
    return [each.verdict.seed for each in read_reports(folder)]


def test_reports_come_back_newest_first_over_days_and_restarts(tmp_path: Path) -> None:
    for number in range(6):
        ReportLog(tmp_path).append(report(number, START_NS + number * DAY_NS // 2))
    assert seeds(tmp_path) == [5, 4, 3, 2, 1, 0]
    (latest, *_) = read_reports(tmp_path)
    assert math.isnan(latest.verdict.suites[0].candidate_cycle_s)
    assert msgspec.json.encode(latest) == msgspec.json.encode(report(5, START_NS + 5 * DAY_NS // 2))
    assert len(list(tmp_path.iterdir())) == 4, "a file a day"


def test_the_oldest_go_when_they_are_too_many_or_too_old(tmp_path: Path) -> None:
    size = len(seal(msgspec.json.encode(report(0))))
    log = ReportLog(tmp_path, ReportLimits(max_bytes=50 * size))
    for number in range(200):
        log.append(report(number))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 50 * size * 1.02
    found = seeds(tmp_path)
    assert found == list(range(199, 199 - len(found), -1)) and len(found) >= 44
    log.append(report(200, START_NS + 29 * DAY_NS))
    assert len(seeds(tmp_path)) > 40
    log.append(report(201, START_NS + 40 * DAY_NS))
    assert seeds(tmp_path) == [201, 200]


def test_reports_of_an_earlier_floop_count_and_go_first(tmp_path: Path) -> None:
    for number in range(3):
        for kind in ("json", "md"):
            (tmp_path / f"20200101_00000{number}_000_abc_rejected.{kind}").write_bytes(b"x" * 1000)
    (tmp_path / "next_seed").write_text("1")
    ReportLog(tmp_path, ReportLimits(max_bytes=3000)).append(report(1))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert "next_seed" in names and sum(name.startswith("20200101") for name in names) < 3


def test_a_flipped_bit_costs_that_report_only(tmp_path: Path) -> None:
    for number in range(3):
        ReportLog(tmp_path).append(report(number))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes().replace(b"for the 1. time", b"for the 7. time"))
    assert seeds(tmp_path) == [2, 0]


@pytest.mark.parametrize("torn", [b'{"verdict": {"deci', b"\x00\x00\n"])
def test_a_line_that_a_kill_tore_costs_that_report_only(tmp_path: Path, torn: bytes) -> None:
    ReportLog(tmp_path).append(report(1))
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(torn)
    ReportLog(tmp_path).append(report(2))
    assert seeds(tmp_path) == [2, 1]


def test_the_disk_use_counts_the_files_that_are_written() -> None:
    assert NAMES == REPORT_FILES
