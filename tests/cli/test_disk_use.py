"""What an operator sees of the disk: `status`, `reports`, `backup` and `restore`, of a fleet of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.bundle import Bundle
from floop_robot.gate.report_log import ReportLog
from floop_robot.services.fleet_manager import registry_path
from floop_robot.stream.journal_reader import JournalReader
from tests.gate.test_report_log import START_NS, report
from tests.support.cli_in_process import PICK, Floop
from tests.support.sample_policies import episode_end
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for

WAIT_S = 60.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    with SmallFleet(tmp_path, Bundle.load(PICK), robots=2) as fleet:
        fleet.start("ingest", "fleet_manager")
        wait_for(fleet.status, WAIT_S, "the fleet manager")
        yield fleet


def test_status_tells_what_is_used_and_the_bounds(floop: Floop, fleet: SmallFleet) -> None:
    fleet.report([episode_end("box", success=True, episode=i) for i in range(5)])
    ReportLog(Path(fleet.config.run_dir) / "gate").append(report(1))
    shown = wait_for(
        lambda: (out := floop("status", "--config", fleet.file).out) and "reports" in out and out, WAIT_S, "reports"
    )
    (line,) = [each for each in shown.splitlines() if each.startswith("storage: ")]
    assert "journal " in line and " of 20 GB (since " in line and "registry " in line and " of 5 GB" in line
    status = msgspec.json.decode(floop("status", "--json", "--config", fleet.file).out)
    used = {each["name"]: (each["bytes"], each["bound"]) for each in status["storage"]}
    assert used["registry"][1] == 5_000_000_000 and 0 < used["reports"][0] < used["reports"][1] == 200_000_000


def test_reports_are_listed_shown_and_named_when_unknown(floop: Floop, fleet: SmallFleet) -> None:
    log = ReportLog(Path(fleet.config.run_dir) / "gate")
    for number in range(1, 4):
        log.append(report(number << 240, START_NS + number))
    config = "--config", fleet.file
    lines = floop("reports", *config).out.splitlines()
    assert [line.split()[2] for line in lines] == ["00010000", "00020000", "00030000"]
    assert len(floop("reports", "--last", "1", *config).out.splitlines()) == 1
    assert floop("reports", "0002", *config).out.startswith("# rejected: candidate 00020000 against v1")
    assert len(msgspec.json.decode(floop("reports", "--json", *config).out)) == 3
    assert "unknown candidate 'ffff'" in floop("reports", "ffff", *config).error


def test_a_backup_of_a_running_fleet_starts_another_one(floop: Floop, fleet: SmallFleet, tmp_path: Path) -> None:
    fleet.report([episode_end("box", success=True, episode=i) for i in range(5)])
    wait_for(lambda: (s := fleet.status()) and s.live[0].classes, WAIT_S, "live success")
    config = "--config", fleet.file
    made = floop("backup", tmp_path / "backup", *config)
    assert made.status == 0 and "MB, in " in made.out, made.err
    assert "is not empty" in floop("backup", tmp_path / "backup", *config).error
    assert "a fleet runs in" in floop("restore", tmp_path / "backup").error
    before = fleet.status()
    assert before is not None
    for name in ("ingest", "fleet_manager"):
        fleet.stop(name)
    restored = floop("restore", tmp_path / "backup", "--run-dir", tmp_path / "again")
    assert restored.status == 0 and "start it: floop up --config" in restored.out, restored.err
    fleet.file = tmp_path / "again" / "floop.yaml"
    fleet.config = msgspec.structs.replace(fleet.config, run_dir=str(tmp_path / "again"))
    fleet.start("ingest", "fleet_manager")
    after = wait_for(fleet.status, WAIT_S, "the restored fleet")
    assert (after.production, after.live, after.confirmed) == (before.production, before.live, before.confirmed)
    assert after.epoch > before.epoch and registry_path(fleet.config).parent == tmp_path / "again"
    fleet.report([episode_end("box", success=True, episode=i) for i in range(5, 8)], "robot_2")
    wait_for(lambda: (s := fleet.status()) and s.live[0].classes["box"].episodes == 8, WAIT_S, "new episodes")
    assert JournalReader(tmp_path / "again" / "journal.sqlite").audit().is_sound
