"""Whether a process works, as seen from outside: each kind by what it shows."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import msgspec
import pytest

from floop_robot.cli.health import health as health_command
from floop_robot.cli.start_progress import StartProgress
from floop_robot.durable.locks import RunLock
from floop_robot.robot.estop_socket import ask_robot
from floop_robot.robot.messages import Interventions, StopCommand
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.services.safety import SafetyStats
from floop_robot.services.supervision.fleet_description import Middleware, robot_processes, simulated_fleet
from floop_robot.services.supervision.process_health import ProcessHealth, process_health
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import Endpoints, FloopConfig, save_config
from tests.support.in_process_fleet import ManagerThread
from tests.support.ports import free_base_port


@pytest.fixture
def config(tmp_path: Path) -> FloopConfig:
    return FloopConfig(robots=1, run_dir=str(tmp_path), endpoints=Endpoints(base_port=free_base_port()))


def health(config: FloopConfig, name: str, within_s: float = 5.0) -> ProcessHealth:
    specs = simulated_fleet(config, Path(config.run_dir) / "floop.yaml", Middleware.ROS)
    return process_health(next(spec for spec in specs if spec.name == name), config, within_s)


def test_a_loop_works_while_its_stats_file_is_fresh(config: FloopConfig, tmp_path: Path) -> None:
    missing = health(config, "robot_1.safety")
    assert (missing.ok, missing.detail) == (False, f"has written no stats file below {tmp_path} yet")
    StatsFile(tmp_path, "robot_1.safety").write(RateLoop(50.0, lambda _: None, "x").stats(), force=True)
    assert health(config, "robot_1.safety").ok
    [file] = (tmp_path / "stats").iterdir()
    os.utime(file, (0, time.time() - 60))
    stale = health(config, "robot_1.safety")
    assert not stale.ok and stale.detail.startswith("wrote its stats file 60.")


def test_ingest_works_when_its_port_is_open(config: FloopConfig) -> None:
    closed = health(config, "ingest")
    assert not closed.ok and config.endpoints.ingest in closed.detail
    host, port = config.endpoints.ingest.removeprefix("tcp://").split(":")
    with socket.create_server((host, int(port))):
        assert health(config, "ingest") == ProcessHealth("ingest", True, f"listens on {config.endpoints.ingest}")


def test_a_fleet_manager_works_when_it_answers(config: FloopConfig, tmp_path: Path) -> None:
    silent = health(config, "fleet_manager")
    assert not silent.ok and "no fleet manager answers" in silent.detail
    manager, lock = ManagerThread(tmp_path), RunLock(tmp_path)
    try:
        base_port = int(manager.rpc.rpartition(":")[2]) - 5  # `fleet_rpc` is the sixth port of a fleet
        found = health(msgspec.structs.replace(config, endpoints=Endpoints(base_port=base_port)), "fleet_manager")
    finally:
        manager.stop()
        lock.release()
    assert found == ProcessHealth("fleet_manager", True, "answers; v1 is in production")


def test_the_learners_node_is_not_checked(config: FloopConfig) -> None:
    assert health(config, "learner_node").ok


@pytest.mark.parametrize("simulated", [False, True])
def test_a_robot_is_asked_for_a_simulated_arm_only_where_it_has_one(
    simulated: bool, config: FloopConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_config(config, tmp_path / "site.yaml")

    def asked(*what: str) -> tuple[list[str], int]:
        status = health_command.main([*what, "--config", str(tmp_path / "site.yaml")], standalone_mode=False)
        return [line.split()[1] for line in capsys.readouterr().out.splitlines()], status

    assert asked("robot_1") == (["robot_1.safety", "robot_1.policy"], 1)
    figures = SafetyStats(RateLoop(50.0, lambda _: None, "x").stats(), Interventions(), "", simulated=simulated)
    StatsFile(tmp_path, "robot_1.safety").write(figures, force=True)
    StatsFile(tmp_path, "robot_1.policy").write(figures, force=True)
    arm = ["robot_1.sim_robot"]
    assert asked("robot_1") == ([*(arm if simulated else []), "robot_1.safety", "robot_1.policy"], int(simulated))
    assert asked("robot_1.sim_robot") == (arm, 1)
    StatsFile(tmp_path, "robot_1.sim_robot").write(figures, force=True)
    assert asked("robot_1")[1] == 0


def test_a_start_tells_which_processes_it_waits_for_until_all_work(
    config: FloopConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    specs = robot_processes(tmp_path / "floop.yaml", "robot_1")
    ask_robot(tmp_path, "robot_1", StopCommand(who="bob", why="a hand"))
    progress = StartProgress(specs, config)
    figures = RateLoop(50.0, lambda _: None, "x").stats()
    lines: dict[float, str] = {}
    for elapsed_s in (0.5, 1.0, 5.5, 7.0, 10.5, 12.0, 13.5):
        now_s = 100.0 + elapsed_s
        if elapsed_s == 7.0:
            StatsFile(tmp_path, "robot_1.safety").write(figures, force=True)
        if elapsed_s == 12.0:
            for name in ("sim_robot", "policy"):
                StatsFile(tmp_path, f"robot_1.{name}").write(figures, force=True)
        progress.show()
        lines[elapsed_s] = capsys.readouterr().err
    assert {at: line.strip() for at, line in lines.items() if line} == {
        5.5: "6 s  waiting for robot_1.sim_robot, robot_1.safety, robot_1.policy",
        10.5: "10 s  waiting for robot_1.sim_robot, robot_1.policy",
        12.0: "12 s  all processes work\n"
        "        robot_1 stands: stopped by bob: a hand\n"
        "        to let it move again, look at it, then `floop reset robot_1`",
    }
