"""`floop up` with ROS: every node of a robot is killed in turn, comes back, and the robot works again by itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from floop_robot.deploy import FleetClient
from floop_robot.services.policy import RobotStats
from floop_robot.services.supervision.fleet_description import Middleware, simulated_fleet
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.spec.config import Endpoints, FloopConfig, save_config
from tests.support.ports import free_base_port
from tests.support.ros.skip_reasons import NO_INTERFACES, NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
pytest.importorskip("floop_interfaces", reason=NO_INTERFACES)

STOP_S = 5.0
BACK_S = 30.0


class Up:
    """A fleet of one robot without explorers, learner and gate."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.config = FloopConfig(
            robots=1, explorers=0, run_dir=str(folder / "run"), endpoints=Endpoints(base_port=free_base_port())
        )
        save_config(self.config, folder / "site.yaml")
        self.log = folder / "up.log"
        only = ("--only", "ingest", "--only", "fleet_manager", "--only", "robot_1")
        command = [sys.executable, "-m", "floop_robot.cli", "up", "--config", str(folder / "site.yaml"), *only]
        with self.log.open("wb") as log:
            environment = os.environ | {"ROS_DOMAIN_ID": str(domain)}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)

    def pid(self, module: str) -> int | None:
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # one that has just ended
                if f"floop_robot.ros.{module.split('_')[0]}.{module}" in child.cmdline():
                    return child.pid
        return None

    def transitions(self) -> int:
        """Control steps recorded by the policy node that runs now."""
        boots = read_stats(Path(self.config.run_dir), "robot_1.policy", RobotStats)
        return boots[-1].policy.transitions if boots else 0

    def wait_working(self) -> None:
        before = self.transitions()
        wait_for(lambda: self.transitions() not in (0, before), BACK_S, "control steps")
        with FleetClient(self.config.endpoints.fleet_rpc, BACK_S) as client:  # one that still starts knows no SIGINT
            client.status()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S + 10)


@pytest.fixture
def fleet(tmp_path: Path, domain: int) -> Iterator[Up]:
    up = Up(tmp_path, domain)
    yield up
    up.stop()


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_a_robot_works_again_after_kill_9_of_each_of_its_nodes(fleet: Up) -> None:
    fleet.wait_working()
    for name in ("policy_node", "safety_node", "sim_robot_node", "fleet_manager_node"):
        first = fleet.pid(name)
        assert first is not None, name
        os.kill(first, signal.SIGKILL)
        wait_for(lambda name=name, first=first: fleet.pid(name) not in (None, first), BACK_S, f"another {name}")
        fleet.wait_working()
        message = f"{name.removesuffix('_node')} ended with exit status -9"
        wait_for(lambda message=message: message in fleet.log.read_text(), BACK_S, message)
    children = psutil.Process(fleet.process.pid).children(recursive=True)
    assert fleet.stop() == 0
    assert not [child for child in children if child.is_running()]
    run = Path(fleet.config.run_dir)
    for spec in simulated_fleet(fleet.config, run, Middleware.ROS):
        log = run / "logs" / f"{spec.name}.log"
        text = log.read_text() if log.exists() else ""
        assert "Traceback" not in text, spec.name
        assert "terminate called" not in text, spec.name


def test_the_doctor_finds_ros_working_also_where_a_child_lost_half_of_the_wheels_environment() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    for given in (dict(os.environ), environment):
        # Without the bootstrap of the wheels in this very process: what it finds is what it starts.
        command = [sys.executable, "-m", "floop_robot.cli", "doctor", "--json"]
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
        found = {check["name"]: check for check in json.loads(done.stdout)}
        assert found["ROS works"]["ok"], found["ROS works"]
        assert found["ROS 2"]["ok"]
