"""Whether a process works, as seen from outside: each kind by what it shows."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import msgspec
import pytest

from floop_robot.robot.rate_loop import RateLoop
from floop_robot.services.supervision.fleet_description import Middleware, simulated_fleet
from floop_robot.services.supervision.process_health import ProcessHealth, process_health
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import Endpoints, FloopConfig
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
    manager = ManagerThread(tmp_path)
    try:
        base_port = int(manager.rpc.rpartition(":")[2]) - 5  # `fleet_rpc` is the sixth port of a fleet
        found = health(msgspec.structs.replace(config, endpoints=Endpoints(base_port=base_port)), "fleet_manager")
    finally:
        manager.stop()
    assert found == ProcessHealth("fleet_manager", True, "answers; v1 is in production")


def test_the_learners_node_is_not_checked(config: FloopConfig) -> None:
    assert health(config, "learner_node").ok
