"""Which fleet a command addresses when no --config is given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from floop_robot.cli.running_fleets import configs_on_this_host
from floop_robot.durable.locks import RunLock, is_running
from floop_robot.robot.estop_socket import LATCH_FILE, WILL_START_STOPPED
from floop_robot.robot.ipc import link_folder
from floop_robot.services.supervision.fleet_description import write_config
from floop_robot.spec.config import Endpoints, FloopConfig
from tests.support.cli_in_process import Floop
from tests.support.ports import free_base_port
from tests.support.waiting import wait_for

COMMANDS = ("status", "policies", "push v1", "hold", "rollback", "drain robot_1", "learner pause")


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs that nobody answers for; the second was begun last."""
    found = [tmp_path / "runs" / name for name in ("one", "two")]
    for place, run_dir in enumerate(found):
        file = write_config(FloopConfig(run_dir=str(run_dir), endpoints=Endpoints(base_port=free_base_port())))
        os.utime(file, (1e9 + place, 1e9 + place))
    return found


@pytest.mark.parametrize("command", ["status", "push v1", "learner pause"])  # each waits for an answer in vain
def test_it_is_the_one_that_runs_whichever_was_begun_last(command: str, floop: Floop, runs: list[Path]) -> None:
    with ExitStack() as stack:
        hold = RunLock(runs[0])
        stack.callback(hold.release)
        found = floop(*command.split())
        assert found.status == 2
        first, error = found.err.splitlines()
        assert first == "fleet of runs/one"
        assert error.startswith("floop: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_none_is_chosen_among_several(command: str, floop: Floop, runs: list[Path]) -> None:
    with ExitStack() as stack:
        for run_dir in runs:
            stack.callback(RunLock(run_dir).release)
        error = floop(*command.split()).error
        assert "2 fleets run here; say which one: --config" in error
        assert "runs/one/floop.yaml" in error
        assert "runs/two/floop.yaml" in error


def test_a_fleet_that_runs_below_another_folder_is_named(floop: Floop, runs: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "fleet" / "floop.yaml"
    write_config(FloopConfig(run_dir=str(file.parent)))
    process = [sys.executable, "-c", "input()", "config:=fleet/floop.yaml"]
    with ExitStack() as stack:
        stack.callback(RunLock(file.parent).release)
        running = stack.enter_context(subprocess.Popen(process, cwd=file.parent.parent, stdin=subprocess.PIPE))
        wait_for(lambda: file in configs_on_this_host())
        assert f" --config {file}" in floop("hold").err.splitlines()[0]
        shutil.rmtree("runs")
        error = floop("stop").error
        assert "no fleet was started here" in error and "running on this host: --config" in error and str(file) in error
        running.kill()


def test_a_configuration_in_its_run_directory_means_that_one(
    floop: Floop, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = runs[0].joinpath("floop.yaml").read_text().replace(str(runs[0]), "runs/one")
    runs[0].joinpath("floop.yaml").write_text(text)
    monkeypatch.chdir("/")
    assert f"robot_1: {WILL_START_STOPPED}" in floop("stop", "--config", runs[0] / "floop.yaml").out
    assert (link_folder(runs[0], "robot_1") / LATCH_FILE).exists()


def test_health_judges_the_fleet_that_status_asks(floop: Floop, runs: list[Path]) -> None:
    for command in ("status", "health"):
        assert floop(command).err.startswith("fleet of runs/two, the last one that was begun here; none is running")
    assert floop("status", "--config", runs[0] / "floop.yaml").error


def test_to_ask_whether_it_runs_changes_nothing(runs: list[Path], tmp_path: Path) -> None:
    assert not is_running(runs[0])
    assert not is_running(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    hold, other = RunLock(runs[0]), RunLock(runs[0])
    hold.release()
    assert is_running(runs[0])
    other.release()
    assert not is_running(runs[0])
