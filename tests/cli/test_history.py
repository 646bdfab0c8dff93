"""What `floop audit`, `policies` and `logs` tell, of a fleet that runs and of one that has stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.bundle import Bundle
from tests.support.cli_in_process import PICK, Floop
from tests.support.cli_process import floop as floop_process
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    """robot_1 is held and robot_2 pinned; v2 was pushed."""
    with SmallFleet(tmp_path, Bundle.load(PICK), robots=12) as fleet:
        fleet.start("fleet_manager")
        wait_for(fleet.status, 60.0, "the fleet manager")
        yield fleet


def audit(floop: Floop, *words: object) -> list[str]:
    """What was done, as JSON has it."""
    found = floop("audit", "--json", *map(str, words))
    assert found.status == 0, found.err
    return [entry["what"] for entry in msgspec.json.decode(found.out)]


def test_the_audit_is_filtered_and_reads_the_same_when_the_fleet_has_stopped(floop: Floop, fleet: SmallFleet) -> None:
    config, ann = ("--config", fleet.file), ("--who", "ann", "--wait", "0")
    assert floop("push", "v1", "--why", "to try", *ann, *config).status == 0
    assert floop("hold", "robot_1", "--who", "bob", *config).status == 0
    assert floop("pin", "robot_11", "v1", *ann, *config).status == 0
    everything = ["published (baseline)", "published (push)", "held robot_1 on v2"]
    lines = floop("audit", *config).out.splitlines()
    assert len(lines) == 4 and lines[1].endswith("  ann: published (push) v2 to try")
    assert audit(floop, *config)[:2] == everything[:2]
    assert audit(floop, "--robot", "robot_1", *config) == ["held robot_1"]
    assert audit(floop, "--last", "1", *config) == audit(floop, *config)[-1:]
    assert len(audit(floop, "--since", "1h", *config)) == 4
    assert audit(floop, "--since", "2999-01-01", *config) == []
    assert audit(floop, "--robot", "robot_5", *config) == []
    assert "unknown robot 'robot_13'; known: robot_1" in floop("audit", "--robot", "robot_13", *config).error
    assert "'yesterday' is no time; give how long ago" in floop("audit", "--since", "yesterday", *config).error
    before, versions = audit(floop, *config), floop("policies", *config).out
    fleet.stop("fleet_manager")
    assert audit(floop, *config) == before
    left = floop("policies", *config)
    assert left.out == versions and left.err.endswith(" is not running; this is what it left\n")
    assert "has stopped; start it again" in floop("status", *config).error


def test_nothing_that_runs_is_told_at_once(floop: Floop, tmp_path: Path) -> None:
    for command in ("status", "policies", "audit", "logs"):
        assert floop(command).error.startswith("floop: no fleet was started here")


@pytest.fixture
def logs(fleet: SmallFleet) -> Path:
    folder = Path(fleet.config.run_dir) / "logs"
    folder.mkdir()
    for name in ("gate", "robot_1.policy", "robot_1.safety", "robot_11.policy"):
        (folder / f"{name}.log").write_text("".join(f"{name} {i}\n" for i in range(30_000)))
    return folder


def test_logs_are_found_by_process_robot_or_part(floop: Floop, fleet: SmallFleet, logs: Path) -> None:
    config = "--config", fleet.file
    shown = floop("logs", *config).out.splitlines()
    assert [line.split()[0] for line in shown[::2]] == ["gate", "robot_1.policy", "robot_1.safety", "robot_11.policy"]
    assert str(logs / "gate.log") in shown[0] and shown[1] == "    gate 29999"
    named = msgspec.json.decode(floop("logs", "robot_1", "--lines", "2", "--json", *config).out)
    assert [(each["process"], each["lines"]) for each in named] == [
        (name, [f"{name} 29998", f"{name} 29999"]) for name in ("robot_1.policy", "robot_1.safety")
    ]
    assert "gate 29980" in floop("logs", "centre", *config).out
    everything = floop("logs", "gate", "--lines", "99999", *config).out.splitlines()
    assert (len(everything), everything[1]) == (30_001, "    gate 0")
    assert "; did you mean 'gate'" in floop("logs", "gates", *config).error
    assert "leave out --json" in floop("logs", "--follow", "--json", *config).error


def test_a_log_without_lines_or_with_control_sequences_is_shown_as_text(
    floop: Floop, fleet: SmallFleet, logs: Path
) -> None:
    (logs / "robot_1.policy.log").write_bytes(b"x" * 20_000_000)
    (logs / "gate.log").write_bytes(b"\x1b[2Jcleared\x00\xff\n")
    (logs / "lost.log").symlink_to("nowhere")
    shown = floop("logs", "--config", fleet.file)
    assert shown.status == 0
    lines = shown.out.splitlines()
    assert "    ?[2Jcleared?\N{REPLACEMENT CHARACTER}" in lines
    assert max(map(len, lines)) < 2100


def test_logs_are_followed_also_when_they_begin_anew(tmp_path: Path, fleet: SmallFleet, logs: Path) -> None:
    with floop_process(
        tmp_path, "logs", "gate", "robot_1", "--follow", "--lines", "1", "--config", str(fleet.file)
    ) as log:
        assert log.stdout is not None
        assert "    robot_1.safety 29999\n" in log.stdout
        with (logs / "gate.log").open("a") as file:
            file.write("half a line, ")
            file.flush()
            (logs / "robot_1.policy.log").write_text("begun anew\n")
            assert log.stdout.readline() == "robot_1.policy: begun anew\n"
            file.write("and the rest\n")
        assert log.stdout.readline() == "gate: half a line, and the rest\n"
        log.send_signal(signal.SIGINT)
        _, err = log.communicate(timeout=10)
        assert (log.returncode, err) == (0, "")


@pytest.mark.parametrize("as_json", [False, True])
def test_status_is_watched_through_a_pipe(as_json: bool, tmp_path: Path, fleet: SmallFleet) -> None:
    words = ["status", "--watch", "--every", "0.1", "--config", str(fleet.file), *(["--json"] if as_json else [])]
    with floop_process(tmp_path, *words) as watching:
        assert watching.stdout is not None
        wanted = '"production":1' if as_json else "production v1"
        for _ in range(2):
            assert any(wanted in line for line in watching.stdout)
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=10)
        assert (watching.returncode, err) == (0, "")


def test_a_folder_and_other_files_are_called_what_they_are(floop: Floop, fleet: SmallFleet, tmp_path: Path) -> None:
    config = "--config", fleet.file
    (tmp_path / "mine").mkdir()
    assert "mine is no policy bundle: it is a folder; no .floop file is in it" in floop("push", "mine", *config).error
    (tmp_path / "mine" / "policy.floop").write_bytes(PICK.read_bytes())
    assert "it is a folder; give mine/policy.floop" in floop("push", "mine", *config).error
    (tmp_path / "site.yaml").write_text("robots: 2\n")
    assert "site.yaml is no policy bundle: it is a YAML text; give" in floop("push", "site.yaml", *config).error
    (tmp_path / "model.zip").write_bytes(b"")
    assert "model.zip is no policy bundle: it is empty; give" in floop("push", "model.zip", *config).error
    (tmp_path / "renamed.zip").write_bytes(PICK.read_bytes())
    assert "pushed v2" in floop("push", "renamed.zip", "--wait", "0", *config).out
