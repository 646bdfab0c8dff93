"""`floop stop` and `floop reset` without ROS: at the robot's own safety process, with and without a fleet manager."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.bundle import Bundle
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.estop_socket import LATCH_FILE, WILL_START_STOPPED, ReadEstop, ask_robot
from floop_robot.robot.ipc import link_folder
from floop_robot.robot.messages import ResetCommand
from floop_robot.spec.errors import FloopError
from floop_robot.spec.estop import EstopState
from tests.support.cli_in_process import PICK, Floop
from tests.support.operator_tokens import TOKEN, WHO, operators_file
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallFleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with SmallFleet(folder, Bundle.load(PICK), robots=2, operators=operators_file(folder)) as fleet:
        for robot in fleet.config.robot_names:
            fleet.start("safety", robot=robot)
        for robot in fleet.config.robot_names:
            wait_for(lambda r=robot: state(fleet, r) is not None, 30.0, f"safety of {robot}")
        yield fleet


@pytest.fixture
def fleet(running: SmallFleet) -> SmallFleet:
    """Two robots whose safety processes run, none of them stopped, and no fleet manager."""
    for robot in running.config.robot_names:
        found = state(running, robot)
        assert found is not None
        reset = ResetCommand(who=WHO, token=TOKEN, stop_id=found.stop_id, nonce=found.nonce)
        assert not found.latched or ask_robot(Path(running.config.run_dir), robot, reset).success
    return running


@pytest.fixture
def floop(
    fleet: SmallFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Floop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOOP_TOKEN", TOKEN)
    return Floop(monkeypatch, capfd)


def state(fleet: SmallFleet, robot: str) -> EstopState | None:
    """A robot's latch; None while nobody answers."""
    try:
        return ask_robot(Path(fleet.config.run_dir), robot, ReadEstop()).state
    except FloopError:
        return None


def test_a_stop_is_shown_and_reset_in_one_step(
    fleet: SmallFleet, floop: Floop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = floop("stop", "robot_1", "--config", fleet.file, "--who", "bob", "--why", "a hand")
    assert (stopped.status, stopped.out) == (0, "robot_1: stopped\n")
    found = state(fleet, "robot_1")
    assert found is not None and (found.latched, found.on_disk, found.who, found.why) == (True, True, "bob", "a hand")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    no = floop("reset", "robot_1", "--config", fleet.file, "--who", WHO)
    assert no.status == 2 and "nothing was reset" in no.err
    assert "robot_1 stopped by bob: a hand, since 20" in no.out and found.stop_id in no.out
    assert floop("reset", "robot_1", "--config", fleet.file, "--yes").error.endswith(
        "--yes needs --stop-id: name the stop that somebody has seen"
    )
    other = floop("reset", "robot_1", "--config", fleet.file, "--yes", "--stop-id", "old")
    assert "robot_1 has another stop than you name" in other.error
    by_stop_id = ("--yes", "--stop-id", found.stop_id)
    guess = floop("reset", "robot_1", "--config", fleet.file, "--who", "eve", *by_stop_id)
    assert guess.status == 1 and "gave no valid operator token" in guess.out
    reset = floop("reset", "robot_1", "--config", fleet.file, "--who", WHO, "--json", *by_stop_id)
    assert (reset.status, [each["success"] for each in json.loads(reset.out)]) == (0, [True])
    again = floop("reset", "robot_1", "--config", fleet.file, "--who", WHO, *by_stop_id)
    assert again.status == 0 and again.out.splitlines()[-1] == "robot_1: already reset"
    assert "is not stopped" in floop("reset", "robot_1", "--config", fleet.file, "--who", WHO).error


def test_a_reset_that_nobody_answers_says_that_nothing_was_reset(
    fleet: SmallFleet, floop: Floop, monkeypatch: pytest.MonkeyPatch
) -> None:
    floop("stop", "robot_1", "--config", fleet.file)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    nobody = floop("reset", "robot_1", "--config", fleet.file, "--who", WHO)
    assert nobody.status == 2
    assert nobody.error == ("floop: nothing was reset: the question had no answer; in a script give --yes --stop-id")
    found = state(fleet, "robot_1")
    assert found is not None and found.latched


def test_no_name_means_all_robots_and_an_unknown_one_stops_no_others(fleet: SmallFleet, floop: Floop) -> None:
    unknown = floop("stop", "robot_9", "--config", fleet.file)
    assert unknown.status == 1 and "unknown robot 'robot_9'" in unknown.error
    partly = floop("stop", "robot_2", "robot_9", "--config", fleet.file, "--json")
    assert (partly.status, json.loads(partly.out)["stopped"]) == (1, ["robot_2"])
    all_of_them = floop("stop", "--config", fleet.file)
    assert (all_of_them.status, all_of_them.out.count(": stopped")) == (0, 2)
    assert "unknown robot 'robot_9'" in floop("reset", "robot_9", "--config", fleet.file).error


def test_a_stop_during_the_first_start_is_kept_for_every_robot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    floop = Floop(monkeypatch, capfd)
    with SmallFleet(tmp_path, Bundle.load(PICK), robots=2) as fleet:
        kept = floop("stop", "--config", fleet.file, "--who", "bob")
        assert (kept.status, kept.out.count(WILL_START_STOPPED)) == (0, 2), kept
        fleet.start("safety", robot="robot_2")
        wait_for(lambda: state(fleet, "robot_2") is not None, 60.0, "safety of robot_2")
        found = state(fleet, "robot_2")
        assert found is not None and found.latched and found.who == "bob"


def test_a_stop_is_kept_where_nothing_has_run_and_is_not_called_done(floop: Floop, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("robots: 1\nrun_dir: new\nendpoints: {base_port: 1100}\n")
    for _ in range(2):
        missed = floop("stop", "--config", tmp_path / "fleet.yaml")
        assert missed.status == 1
        text = f"not known to have stopped: it has not run in {tmp_path / 'new'} yet; if it starts there, it starts"
        assert text in missed.out
    assert EstopLatch(link_folder(tmp_path / "new", "robot_1") / LATCH_FILE).is_set


def test_a_stop_reaches_a_robot_that_is_frozen_or_dead(fleet: SmallFleet, floop: Floop) -> None:
    frozen = fleet.processes["robot_1.safety"]
    os.kill(frozen.pid, signal.SIGSTOP)
    fleet.kill("robot_2.safety")
    stopped = floop("stop", "--config", fleet.file)
    assert stopped.status == 1
    assert stopped.out.splitlines()[0].startswith("robot_1: not known to have stopped: ")
    assert stopped.out.splitlines()[1] == f"robot_2: {WILL_START_STOPPED}"
    found = json.loads(floop("stop", "robot_2", "--json", "--config", fleet.file).out)
    assert (found["stopped"], found["will_start_stopped"], found["missed"]) == ([], ["robot_2"], {})
    os.kill(frozen.pid, signal.SIGCONT)
    fleet.start("safety", robot="robot_2")
    for robot in fleet.config.robot_names:
        wait_for(lambda r=robot: (found := state(fleet, r)) is not None and found.latched, 30.0, f"a stopped {robot}")


def test_a_fleet_manager_without_ros_leaves_stops_to_the_robots_host(fleet: SmallFleet, floop: Floop) -> None:
    fleet.start("fleet_manager")
    wait_for(fleet.status, 60.0, "the fleet manager")
    assert floop("stop", "--config", fleet.file, "--who", WHO).status == 0
    found = state(fleet, "robot_1")
    assert found is not None
    reset = floop("reset", "robot_1", "--config", fleet.file, "--who", WHO, "--yes", "--stop-id", found.stop_id)
    assert reset.status == 0, reset
    status = fleet.status()
    assert status is not None
    assert [(e.who, e.what) for e in status.audit[-2:]] == [(WHO, "stopped robot_1, robot_2"), (WHO, "reset robot_1")]
