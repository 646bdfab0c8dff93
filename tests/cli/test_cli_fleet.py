"""Operators' commands against real processes: what they show, what they change, and what they refuse."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import psutil
import pytest

from floop_robot.bundle import Bundle
from floop_robot.durable.locks import is_running
from floop_robot.services.supervision.fleet_description import write_config
from floop_robot.services.supervision.stopped_run import stopped_reason
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import Endpoints, save_config
from tests.support.cli_in_process import PICK, Floop, damaged_bundles
from tests.support.ports import free_base_port
from tests.support.sample_bundles import make_bundle
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for

WAIT_S = 60.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    with SmallFleet(tmp_path, Bundle.load(PICK)) as fleet:
        fleet.start("fleet_manager")
        wait_for(fleet.status, WAIT_S, "the fleet manager")
        yield fleet


def test_push_list_and_roll_back(floop: Floop, fleet: SmallFleet) -> None:
    config = "--config", str(fleet.file)
    pushed = floop("push", PICK, "--why", "a try", *config)
    assert pushed.status == 0
    assert "pushed v2" in pushed.out
    assert "now acting: robot_1" in pushed.out
    status = msgspec.json.decode(floop("status", "--json", *config).out)
    assert (status["production"], status["baseline"]) == (2, 1)
    assert "a try" in floop("status", *config).out
    refused = floop("rollback", *config)
    assert refused.status == 2 and "v2 has the bytes of v1, the first policy of this fleet" in refused.err
    undone = msgspec.json.decode(floop("rollback", "v1", "--json", *config).out)
    assert undone["done"]["version"] == 3
    listed = msgspec.json.decode(floop("policies", "--json", *config).out)
    assert [v["restores"] for v in listed["versions"]] == [0, 0, 1]
    first, second, why, third, undone_why = floop("policies", *config).out.splitlines()
    assert first.endswith("baseline") and ", not judged, no live episode, " in first
    assert "  push, not judged, " in second and why == "      a try"
    assert third.endswith("production") and undone_why == "      operator: to v1"
    (when,) = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", first)
    assert datetime.fromisoformat(when) <= datetime.now().astimezone()


def test_corrections_of_a_pushed_bundle_are_shown_where_versions_are(
    floop: Floop, fleet: SmallFleet, tmp_path: Path
) -> None:
    config, corrected = ("--config", str(fleet.file)), tmp_path / "corrected.floop"
    Bundle.load(PICK).with_calibration({"robot_1": (0.03, -0.026, 0.0)}).save(corrected)
    words = "robot_1 by (-30.0, +26.0, +0.0) mm"
    assert f"pushed v2; it corrects perceived positions of {words}\n" in floop("push", corrected, *config).out
    assert f"v2 corrects perceived positions of {words}\n" in floop("status", *config).out
    assert f"production corrects {words}\n" in floop("policies", *config).out
    assert "it has no corrections of perceived positions, v2 had some" in floop("push", "v1", *config).out
    assert " corrects " not in floop("status", *config).out.partition("candidates:")[0]


def test_robots_that_were_never_heard_are_shown_so(floop: Floop, fleet: SmallFleet) -> None:
    shown = floop("status", "--config", str(fleet.file)).out
    assert "not heard yet" in shown
    assert "inf" not in shown


def test_what_does_not_fit_is_refused_and_changes_nothing(floop: Floop, fleet: SmallFleet, tmp_path: Path) -> None:
    config = "--config", str(fleet.file)
    before = floop("policies", "--json", *config).out
    (tmp_path / "bad").mkdir()
    bad = damaged_bundles(tmp_path / "bad")
    other = tmp_path / "other.floop"
    make_bundle(0).save(other)
    assert "fetch it again" in floop("push", bad["truncated"], *config).error
    assert "NaN" in floop("push", bad["nan"], *config).error
    assert "as its architecture says" in floop("push", bad["shape"], *config).error
    mismatch = floop("push", other, *config).error
    assert "test/Reach-v0" in mismatch
    assert "floop/Pick-v0" in mismatch
    assert "v99" in floop("rollback", "99", *config).error
    assert "there is none to go back to" in floop("rollback", *config).error
    assert floop("policies", "--json", *config).out == before


def test_the_configuration_of_a_stopped_fleet_reaches_no_other_on_its_ports(
    floop: Floop, fleet: SmallFleet, tmp_path: Path
) -> None:
    fleet.stop("fleet_manager")
    folder = tmp_path / "other"
    folder.mkdir()
    with SmallFleet(folder, Bundle.load(PICK)) as other:
        other.config = msgspec.structs.replace(other.config, endpoints=fleet.config.endpoints)
        other.file = write_config(other.config)
        other.start("fleet_manager")
        before = wait_for(other.status, WAIT_S, "the other fleet manager")
        for words in ("status", "push v1", "hold", "drain robot_1", "learner pause"):
            line = floop(*words.split(), "--config", fleet.file).error
            assert line.startswith(f"floop: the fleet of {fleet.config.run_dir} has stopped; start it again")
        health = floop("health", "fleet_manager", "--config", fleet.file)
        assert health.status == 1 and "has stopped" in health.out
        stopped = floop("stop", "--json", "--config", fleet.file)
        kept = msgspec.json.decode(stopped.out)["will_start_stopped"]  # none of its robots runs
        assert stopped.status == 0 and kept == list(fleet.config.robot_names)
        after = other.status()
        assert after is not None and after.audit == before.audit
        assert floop("status", "--config", other.file).status == 0
        elsewhere = Endpoints(host="192.0.2.1", base_port=fleet.config.endpoints.base_port)
        assert not stopped_reason(msgspec.structs.replace(fleet.config, endpoints=elsewhere))


def up(config: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "floop_robot.cli", "up", "--no-ros", "--config", str(config), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def processes_of(run_dir: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if any(run_dir in word for word in p.info["cmdline"] or ())]


def test_a_taken_port_ends_the_start_in_one_line(fleet: SmallFleet, tmp_path: Path) -> None:
    """The running fleet's ports, another folder: the second fleet says so and leaves nothing behind."""
    config = msgspec.structs.replace(fleet.config, run_dir=str(tmp_path / "second"), robots=1, explorers=0)
    save_config(config, tmp_path / "second.yaml")
    second = up(tmp_path / "second.yaml", "--only", "centre")
    _, err = second.communicate(timeout=WAIT_S)
    assert second.returncode == 2
    (line,) = [line for line in err.splitlines() if line.startswith("floop: ")]
    ((port, base),) = re.findall(r"port (\d+) is in use.*endpoints.base_port \(now (\d+)\)", line)
    assert int(base) == config.endpoints.base_port < int(port)
    assert "Traceback" not in err
    assert not processes_of(str(tmp_path / "second"))
    assert fleet.processes["fleet_manager"].poll() is None
    assert fleet.status() is not None


def test_a_second_fleet_manager_on_the_same_registry_is_refused(fleet: SmallFleet, tmp_path: Path) -> None:
    """A fleet manager that no supervisor of floop's started (a launch file, a container) has its run directory, too."""
    config = msgspec.structs.replace(fleet.config, endpoints=Endpoints(base_port=free_base_port()))
    save_config(config, tmp_path / "second.yaml")
    second = up(tmp_path / "second.yaml", "--only", "centre")
    _, err = second.communicate(timeout=WAIT_S)
    assert second.returncode == 2
    assert err.startswith(f"floop: {fleet.config.run_dir} belongs to a running fleet")
    assert fleet.status() is not None
    fleet.kill("fleet_manager")
    assert not is_running(Path(fleet.config.run_dir))


def test_a_running_fleet_keeps_its_configuration(fleet: SmallFleet, tmp_path: Path) -> None:
    with Supervisor([], Path(fleet.config.run_dir)):
        config = msgspec.structs.replace(fleet.config, endpoints=Endpoints(base_port=free_base_port()))
        save_config(config, tmp_path / "second.yaml")
        before = fleet.file.read_bytes()
        second = up(tmp_path / "second.yaml")
        _, err = second.communicate(timeout=WAIT_S)
        assert second.returncode == 2
        assert err.startswith(f"floop: {fleet.config.run_dir} belongs to a running fleet")
        assert fleet.file.read_bytes() == before
        assert write_config(fleet.config) == fleet.file  # its own parts may start


def test_up_runs_a_fleet_until_ctrl_c(floop: Floop, fleet: SmallFleet, tmp_path: Path) -> None:
    fleet.stop("fleet_manager")
    config = msgspec.structs.replace(fleet.config, run_dir=str(tmp_path / "up"), robots=1, explorers=0)
    save_config(config, tmp_path / "up.yaml")
    running = up(tmp_path / "up.yaml")

    def acting() -> bool:
        found = floop("status", "--json", "--config", tmp_path / "up.yaml")
        return found.status == 0 and msgspec.json.decode(found.out)["robots"][0]["version"] == 1

    try:
        wait_for(acting, WAIT_S, "the robot acting on the baseline")
    finally:
        running.send_signal(signal.SIGINT)
    running.communicate(timeout=5.0)
    assert running.returncode == 0
    assert not processes_of(str(tmp_path / "up"))
    assert not [path for path in (tmp_path / "up").rglob("*") if path.is_socket()]
