"""How a process begins and ends: one line for errors, its exit status, and never longer than its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from floop_robot.robot.rate_loop import RateStats
from floop_robot.services.entry import SUPERVISOR_PID, SUPERVISOR_PIPE, USER_ERROR, run
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.spec.config import Endpoints, FloopConfig
from tests.support.ports import free_base_port
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]


def config_file(folder: Path) -> Path:
    config = FloopConfig(robots=1, run_dir=str(folder / "run"), endpoints=Endpoints(base_port=free_base_port()))
    file = folder / "floop.yaml"
    file.write_bytes(msgspec.yaml.encode(config))
    return file


def start(file: Path, *words: str, descriptor: int | None = None, parent: int = 0) -> subprocess.Popen[str]:
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "envs", ROOT / "policies")))
    pipe = {} if descriptor is None else {SUPERVISOR_PIPE: str(descriptor)}
    pipe |= {SUPERVISOR_PID: str(parent)} if parent else {}
    return subprocess.Popen(
        [sys.executable, "-m", "floop_robot.services.entry", *words, "--config", str(file)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths} | pipe,
        pass_fds=() if descriptor is None else (descriptor,),
    )


@pytest.mark.parametrize("name", ["bare_timer", "ingest", "safety", "policy", "sim_robot"])
def test_a_missing_configuration_is_one_line_and_exit_status_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this test's own process keeps its signals
    assert run([name, "--config", str(tmp_path / "none.yaml")]) == USER_ERROR
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"{name}: cannot read {tmp_path / 'none.yaml'}: No such file or directory; check the path"


def test_an_unknown_robot_is_named_with_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert run(["safety", "--config", str(config_file(tmp_path)), "--robot", "robot_7"]) == USER_ERROR
    assert "unknown robot 'robot_7'" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_process_ends_in_order_on_a_signal_and_leaves_its_figures(how: signal.Signals, tmp_path: Path) -> None:
    process = start(config_file(tmp_path), "bare_timer")
    wait_for(lambda: read_stats(tmp_path / "run", "bare_timer", RateStats))
    process.send_signal(how)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    [stats] = read_stats(tmp_path / "run", "bare_timer", RateStats)
    assert stats.ticks > 1


def test_a_process_ends_when_its_supervisor_is_gone(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    process = start(config_file(tmp_path), "bare_timer", descriptor=reader)
    os.close(reader)
    wait_for(lambda: read_stats(tmp_path / "run", "bare_timer", RateStats))
    assert process.poll() is None
    os.close(writer)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0, err


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell nobody that a process has ended")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_ends_when_the_process_that_watches_it_is_gone_also_one_that_is_not_its_parent(
    how: signal.Signals, tmp_path: Path
) -> None:
    launch = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        process = start(config_file(tmp_path), "bare_timer", parent=launch.pid)
        wait_for(lambda: read_stats(tmp_path / "run", "bare_timer", RateStats))
        launch.send_signal(signal.SIGSTOP)  # frozen is not gone
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        launch.send_signal(signal.SIGCONT)
        launch.send_signal(how)
        launch.communicate()
        _, err = process.communicate(timeout=10)
        assert process.returncode == 0, err
        late = start(config_file(tmp_path), "bare_timer", parent=launch.pid)  # it went before we began
        late.communicate(timeout=20)
    finally:
        launch.kill()
        launch.communicate()


def test_ctrl_c_before_a_process_listens_for_signals_is_exit_status_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("floop_robot.services.bare_timer.main", interrupted)
    assert run(["bare_timer"]) == 130
