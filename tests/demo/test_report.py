"""The report as a file, and whether it can be written at all."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from floop_robot.demo.report import DemoReport, Rate, check_writable, save_report
from floop_robot.spec.errors import StorageError
from tests.support.blank_struct import blank


def test_a_report_is_one_json_object(tmp_path: Path) -> None:
    report = blank(DemoReport, reason="too short", tti_stages_s={"lesson": 1.0}, success_dip=0.25)
    save_report(report, tmp_path / "report.json")
    assert msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=DemoReport) == report
    assert (tmp_path / "report.json").read_text().endswith("}\n")


def test_a_rate_without_episodes_is_zero() -> None:
    assert (Rate(3, 4).value, Rate(0, 0).value) == (0.75, 0.0)


def test_a_place_that_takes_no_report_is_named_before_the_demo(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "report.json")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(StorageError, match="it is a folder; name a file"):
        check_writable(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="choose another --report"):
        check_writable(tmp_path / "file" / "report.json")
