"""The launch files with the real `launch`: every argument described, the fleet's processes, and what comes back."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from floop_robot.services.policy import RobotStats
from floop_robot.services.supervision.fleet_description import (
    Middleware,
    central_processes,
    robot_processes,
    select_processes,
    simulated_fleet,
)
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import Endpoints, FloopConfig, save_config
from tests.support.ports import free_base_port
from tests.support.ros.skip_reasons import NO_LAUNCH, NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
# Its companion is request for: our folder of launch files would pass for the package.
pytest.importorskip("launch_ros", reason=NO_LAUNCH)

SUPPORT = Path(__file__).parents[1] / "support" / "ros"
LAUNCH = Path(__file__).parents[2] / "launch"
FILES = sorted(path.name for path in LAUNCH.glob("*.launch.py"))
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
given = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
service = LaunchService(noninteractive=True)
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(sys.argv[1], launch_arguments=given)]))
sys.exit(service.run())
"""
DRIVER_LAUNCH = """
from launch import LaunchDescription
from launch_ros.actions import Node


def generate_launch_description():
    return LaunchDescription([Node(executable="{python}", arguments=["{script}"], output="screen")])
"""
STOP_S = 5.0
"""What `ros2 launch` waits before it stops asking kindly."""


def description(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name.replace(".", "_"), LAUNCH / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize("name", FILES)
def test_every_argument_is_described_and_none_must_be_given(name: str) -> None:
    arguments = description(name).get_launch_arguments()
    assert arguments
    for argument in arguments:
        assert argument.description not in ("", "no description given"), argument.name
        assert argument.default_value is not None, argument.name


class Launched:
    """A launch file in a process of its own."""

    def __init__(self, folder: Path, domain: int, name: str, *words: str) -> None:
        self.config = FloopConfig(
            robots=1, explorers=0, run_dir=str(folder / "run"), endpoints=Endpoints(base_port=free_base_port())
        )
        self.file = folder / "site.yaml"
        save_config(self.config, self.file)
        self.log = folder / "launch.log"
        command = [sys.executable, "-c", RUN, str(LAUNCH / name), f"config:={self.file}", *words]
        environment = os.environ | {"ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(folder / "ros")}
        environment["AMENT_PREFIX_PATH"] = os.environ.get("AMENT_PREFIX_PATH", sys.prefix)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def started(self) -> set[str]:
        """Names of the processes that launch started."""
        lines = [line for line in self.text.splitlines() if "process started with pid" in line]
        return {line.split("[")[2].split("]")[0].rpartition("-")[0] for line in lines}

    def child(self, word: str) -> int | None:
        """A process whose command line has `word` in it."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(part.endswith(word) for part in child.cmdline()[:4]):
                    return child.pid
        return None

    def boots(self) -> list[RobotStats]:
        """What each boot of the policy node counted."""
        return read_stats(Path(self.config.run_dir), "robot_1.policy", RobotStats)

    def stop(self) -> float:
        """Seconds that all took to end after Ctrl-C."""
        begin = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STOP_S + 15)
        return time.monotonic() - begin


@contextlib.contextmanager
def launched(folder: Path, domain: int, name: str, *words: str) -> Iterator[Launched]:
    found = Launched(folder, domain, name, *words)
    try:
        yield found
    finally:
        found.stop()


def names(specs: list[Any]) -> set[str]:
    return {spec.name for spec in specs}


@pytest.mark.timeout(180)
def test_a_fleet_works_and_a_killed_policy_comes_back_and_acts(tmp_path: Path, domain: int) -> None:
    with launched(tmp_path, domain, "fleet.launch.py") as fleet:
        wait_for(lambda: fleet.boots() and fleet.boots()[0].policy.episodes >= 1, 60, "an episode")
        assert fleet.started() == names(simulated_fleet(fleet.config, tmp_path, Middleware.ROS))
        first = fleet.child("policy_node")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(fleet.boots()) == 2, 30, "another policy node")
        wait_for(lambda: fleet.boots()[1].policy.transitions > 0, 30, "its control steps")
        assert fleet.child("policy_node") != first
        assert fleet.stop() < STOP_S
        assert "Traceback" not in fleet.text
        assert "terminate called" not in fleet.text
        assert "SIGTERM" not in fleet.text, "a process did not end when it was request to"


@pytest.mark.timeout(90)
def test_a_robot_alone_starts_its_own_processes_only(tmp_path: Path, domain: int) -> None:
    with launched(tmp_path, domain, "robot.launch.py", "simulated:=true") as robot:
        wanted = names(robot_processes(tmp_path, "robot_1", Middleware.ROS))
        wait_for(lambda: robot.started() >= wanted, 40, "the processes")
        robot.stop()
        assert robot.started() == wanted


@pytest.mark.timeout(180)
def test_a_robot_works_with_a_driver_that_knows_nothing_of_floop(tmp_path: Path, domain: int) -> None:
    driver_launch = tmp_path / "my_arm.launch.py"
    driver_launch.write_text(DRIVER_LAUNCH.format(python=sys.executable, script=SUPPORT / "arm_stand_in.py"))
    params = tmp_path / "params.yaml"
    params.write_text("/robot_1/cell_node:\n  ros__parameters: {homing_speed: 0.6}\n")
    words = (f"driver:={SUPPORT / 'stand_in_driver.yaml'}", f"driver_launch:={driver_launch}", f"params_file:={params}")
    with launched(tmp_path, domain, "robot.launch.py", *words) as robot:
        wait_for(lambda: robot.child("cell_node"), 30, "the cell node")
        centre = select_processes(robot.config, robot.file, Middleware.ZMQ, ("ingest", "fleet_manager"))
        with Supervisor(centre, tmp_path / "run"):
            wait_for(lambda: robot.boots() and robot.boots()[0].policy.successes >= 2, 90, "episodes, homing between")
        assert {"robot_1.safety", "robot_1.cell", "robot_1.policy"} < robot.started()
        assert not [name for name in robot.started() if "sim_robot" in name]
        robot.stop()
        assert "Traceback" not in robot.text


@pytest.mark.timeout(90)
def test_the_central_side_has_no_robots(tmp_path: Path, domain: int) -> None:
    with launched(tmp_path, domain, "learner.launch.py", "fleet_manager:=false") as centre:
        wanted = names(central_processes(centre.config, tmp_path, Middleware.ROS)) - {"fleet_manager"}
        wait_for(lambda: centre.started() >= wanted, 40, "the processes")
        centre.stop()
        assert centre.started() == wanted


def test_a_process_that_has_worked_takes_nothing_down_with_it() -> None:
    from types import SimpleNamespace

    from launch.actions import Shutdown

    from floop_robot.ros import launching

    now = [100.0]
    handler = launching.ExitHandler("robot_1.policy", respawn=True, clock=lambda: now[0])
    error, killed = SimpleNamespace(returncode=2), SimpleNamespace(returncode=-9)
    handler.on_start(None, None)
    now[0] += 1.0
    assert handler.on_exit(killed, None) is None
    handler.on_start(None, None)
    now[0] += 30.0
    stopping = handler.on_exit(error, None)  # it can't work as configured, and a busy machine took long to find out
    assert stopping is not None and isinstance(stopping[-1], Shutdown)
    handler.on_start(None, None)
    now[0] += 3600.0
    assert handler.on_exit(error, None) is None  # a disk is full that was not before
    handler.on_start(None, None)
    now[0] += 1.0
    assert handler.on_exit(error, None) is None  # and still is


def test_what_is_not_started_again_is_logged() -> None:
    from types import SimpleNamespace

    from launch import LaunchContext
    from launch.actions import LogInfo

    from floop_robot.ros import launching

    now = [100.0]
    handler = launching.ExitHandler("robot_1.policy", respawn=False, clock=lambda: now[0])
    handler.on_start(None, None)
    now[0] += 3600.0
    actions = handler.on_exit(SimpleNamespace(returncode=2), None)
    assert actions is not None and [type(action) for action in actions] == [LogInfo]
    line = "".join(part.perform(LaunchContext()) for part in actions[0].msg)
    assert line.startswith("robot_1.policy can't go on") and "is not started again" in line


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("name", "word", "expected"),
    [
        ("robot.launch.py", "namespace:=robot_7", "unknown robot 'robot_7'"),
        ("fleet.launch.py", "robots:=many", "robots:=many is not a whole number"),
        ("fleet.launch.py", "robots:=40", "40 robots are too many"),
        ("sim_training.launch.py", "shift:=new-objekt", "did you mean 'new-object'"),
    ],
)
def test_mistakes_are_named_before_anything_starts(
    tmp_path: Path, domain: int, name: str, word: str, expected: str
) -> None:
    with launched(tmp_path, domain, name, word) as fleet:
        assert fleet.process.wait(60) != 0
        assert expected in fleet.text
        assert not fleet.started()
