"""The launch files with the real `launch`: every argument described, the fleet's processes, and what comes back."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
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
    CONFIG_FILE,
    Middleware,
    central_processes,
    robot_processes,
    select_processes,
    simulated_fleet,
)
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import Endpoints, FloopConfig, save_config
from floop_robot.spec.errors import ConfigError
from tests.support.ports import free_base_port
from tests.support.ros.skip_reasons import NO_LAUNCH, NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
# Its companion is request for: our folder of launch files would pass for the package.
pytest.importorskip("launch_ros", reason=NO_LAUNCH)

from tests.support.operator_tokens import operators_file
from tests.support.ros.estop_calls import start_robot
from tests.support.ros.peer import Peer

SUPPORT = Path(__file__).parents[1] / "support" / "ros"
LAUNCH = Path(__file__).parents[2] / "launch"
FILES = sorted(path.name for path in LAUNCH.glob("*.launch.py"))
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
given = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
service = LaunchService(argv=sys.argv[2:], noninteractive=True)
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(sys.argv[1], launch_arguments=given)]))
sys.exit(service.run())
"""
"""As `ros2 launch` does it."""
RUN_CASES = """
import json, sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
for case, words in enumerate(json.loads(sys.argv[1])):
    sys.argv[1:] = words
    given = [tuple(word.split(":=", 1)) for word in words[1:]]
    service = LaunchService(argv=words[1:], noninteractive=True)
    service.include_launch_description(LaunchDescription([IncludeLaunchDescription(words[0], launch_arguments=given)]))
    print(f"CASE {case} BEGINS", file=sys.stderr, flush=True)
    status = service.run()
    print(f"CASE {case} ENDS {status}", file=sys.stderr, flush=True)
"""
"""One after the other: most of what a case costs is Python's start."""
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

    def __init__(self, folder: Path, domain: int, name: str, *words: str, operators: str = "") -> None:
        self.config = FloopConfig(
            robots=1,
            explorers=0,
            run_dir=str(folder / "run"),
            endpoints=Endpoints(base_port=free_base_port()),
            operators=operators,
        )
        self.file = folder / "site.yaml"
        save_config(self.config, self.file)
        self.log = folder / "launch.log"
        own = () if Path(name).is_absolute() else (f"config:={self.file}",)
        command = [sys.executable, "-c", RUN, str(LAUNCH / name), *own, *words]
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
def launched(folder: Path, domain: int, name: str, *words: str, operators: str = "") -> Iterator[Launched]:
    found = Launched(folder, domain, name, *words, operators=operators)
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
    peer = Peer(domain)
    with (
        contextlib.closing(peer),
        launched(tmp_path, domain, "robot.launch.py", *words, operators=operators_file(tmp_path)) as robot,
    ):
        wait_for(lambda: robot.child("cell_node"), 30, "the cell node")
        centre = select_processes(robot.config, robot.file, Middleware.ZMQ, ("ingest", "fleet_manager"))
        with Supervisor(centre, tmp_path / "run"):
            start_robot(peer)  # it was stopped when its computer was started
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

    from floop_robot.ros import launching

    now = [100.0]
    handler = launching.ExitHandler("robot_1.policy", respawn=True, clock=lambda: now[0])
    error, killed = SimpleNamespace(returncode=2), SimpleNamespace(returncode=-9)
    handler.on_start(None, None)
    now[0] += 1.0
    assert handler.on_exit(killed, None) is None
    handler.on_start(None, None)
    now[0] += 30.0
    with pytest.raises(ConfigError, match=r"robot_1\.policy can't work as configured"):
        handler.on_exit(error, None)  # a busy machine took long to find out
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


SPEAKS = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction
from launch_ros.actions import Node


def tell(context):
    with open("{told}", "w") as told:
        told.write(repr(dict(context.launch_configurations)))


def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument("robot_ip", description="its address"),
        DeclareLaunchArgument("namespace", default_value="/mine"),
        OpaqueFunction(function=tell),
        ExecuteProcess(cmd=["sleep", "60"], name="vendor"),
        {more}
    ])
"""
"""A driver's launch file that tells what it was given, starts a process, and does more."""
INCLUDED = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription


def generate_launch_description():
    return LaunchDescription([DeclareLaunchArgument("serial"), IncludeLaunchDescription("/none.launch.py")])
"""
"""A part of a driver: it must be given an argument, and fails when it is described."""


class Files:
    """What a person may have written, right and wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, folder / "told"
        self.config = folder / "site.yaml"
        save_config(FloopConfig(robots=1, explorers=0, run_dir=str(folder / "run")), self.config)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def driver(self, name: str, more: str = "") -> Path:
        return self.write(name, SPEAKS.format(told=self.told, more=more))

    def parameters(self, name: str, text: str) -> Path:
        return self.write(name, f"/robot_1/{text}\n")


def mistakes(files: Files) -> list[tuple[str, tuple[str, ...], str]]:
    """Launch file, arguments, and what the refusal says."""
    launch_file, lost = files.driver("arm.launch.py"), files.folder / "none"
    part = files.write("part.launch.py", INCLUDED)
    given = 'launch_arguments={"serial": "7"}.items()'
    fails_late = files.driver("late.launch.py", f'IncludeLaunchDescription("{part}", {given}),')
    fails_early = files.write("early.launch.py", "raise OSError('no such interface can0')\n")
    unreadable = files.write("typo.launch.py", "def generate_launch_description(:\n")
    bad_model = files.write("arm.yaml", "{name: arm, urdf: none.urdf}\n")
    bad_config = files.write("bad.yaml", "{robts: 2}\n")
    model_config = files.write(
        "model.yaml", f"{{robots: 1, run_dir: {files.folder}/run, robot: {{model: {bad_model}}}}}\n"
    )
    robot = [
        (("namespace:=robot_7",), "unknown robot 'robot_7'"),
        (("namespce:=robot_1",), "unknown launch argument 'namespce'"),
        ((f"driver_launch:={lost}.launch.py",), "there is no file"),
        (("driver_launch:=no_such_package/arm.launch.py",), "nor a package 'no_such_package'"),
        (("driver_launch:=launch_ros/arm.launch.py",), "no file is called arm.launch.py"),
        ((f"driver_launch:={unreadable}",), "SyntaxError"),
        ((f"driver_launch:={fails_early}",), "no such interface can0"),
        ((f"driver_launch:={fails_late}", "driver_args:=robot_ip:=1"), "none.launch.py"),
        ((f"driver_launch:={launch_file}",), "must be given robot_ip"),
        ((f"driver_launch:={launch_file}", "driver_args:=robot_pi:=1"), "did you mean 'robot_ip'?"),
        ((f"driver_launch:={launch_file}", "driver_args:=robot_ip"), "is not of the form name:=value"),
        (("driver_args:=robot_ip:=1",), "is for a driver_launch:="),
        (("driver:=no_such_driver",), "no_such_driver"),
        (("log_level:=loud",), "log_level:=loud is no severity"),
        (("use_respawn:=maybe",), "use_respawn:=maybe is neither true nor false"),
        ((f"params_file:={lost}.yaml",), "none.yaml: No such file"),
        ((f"params_file:={files.parameters('a.yaml', 'policy_node: {ros__parameters: {episode_strat: service}}')}",),
         "did you mean 'episode_start'?"),
        ((f"params_file:={files.parameters('b.yaml', 'cell_node: {ros__parameters: {homing_speed: .nan}}')}",),
         "homing_speed is nan"),
        ((f"params_file:={files.parameters('c.yaml', 'cel_node: {ros__parameters: {homing_speed: 0.2}}')}",),
         "did you mean '/robot_1/cell_node'?"),
        ((f"config:={lost}.yaml",), "none.yaml: No such file"),
        ((f"config:={bad_config}",), "unknown field 'robts'"),
        ((f"config:={model_config}",), "arm.yaml"),
    ]  # fmt: skip
    fleet = [
        ("fleet.launch.py", ("robots:=many",), "robots:=many is not a whole number"),
        ("fleet.launch.py", ("robots:=40",), "40 robots are too many"),
        ("fleet.launch.py", ("seed:=-1",), "seed"),
        ("fleet.launch.py", (f"config:={model_config}",), "arm.yaml"),
        ("sim_training.launch.py", ("shift:=new-objekt",), "did you mean 'new-object'"),
        ("learner.launch.py", ("fleet_manager:=perhaps",), "fleet_manager:=perhaps is neither true nor false"),
    ]
    return [*(("robot.launch.py", words, refusal) for words, refusal in robot), *fleet]


@pytest.mark.timeout(180)
def test_mistakes_end_launch_with_a_failure_before_anything_starts(tmp_path: Path, domain: int) -> None:
    files = Files(tmp_path)
    cases = mistakes(files)
    words = [
        [
            str(LAUNCH / name),
            *(() if any(w.startswith("config:=") for w in given) else (f"config:={files.config}",)),
            *given,
        ]
        for name, given, _ in cases
    ]
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(tmp_path / "ros")}
    environment["AMENT_PREFIX_PATH"] = os.environ.get("AMENT_PREFIX_PATH", sys.prefix)
    done = subprocess.run(
        [sys.executable, "-c", RUN_CASES, json.dumps(words)],
        env=environment, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True,
    )  # fmt: skip
    assert "process started" not in done.stdout
    for case, (name, given, refusal) in enumerate(cases):
        text = done.stdout.split(f"CASE {case} BEGINS")[1].split(f"CASE {case} ENDS")[0]
        status = done.stdout.split(f"CASE {case} ENDS ")[1].splitlines()[0]
        assert status == "1", (name, given, text)
        assert refusal in text, (name, given, text)
        assert "Traceback" not in text, (name, given, text)
    # The one that fails late was read first, with its own arguments and the namespace alone.
    assert ast.literal_eval(files.told.read_text()) == {
        "ros_namespace": "/robot_1",
        "robot_ip": "1",
        "namespace": "/mine",
    }
    assert not (tmp_path / "run" / CONFIG_FILE).exists()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nodes_end_when_launch_is_killed(tmp_path: Path, domain: int, how: signal.Signals) -> None:
    with launched(tmp_path, domain, "robot.launch.py", "simulated:=true") as robot:
        wait_for(lambda: len(robot.started()) == 3 and "configure: done" in robot.text, 60, "the processes")
        children = psutil.Process(robot.process.pid).children(recursive=True)
        assert len(children) >= 3
        robot.process.send_signal(how)
        robot.process.wait(20)
        psutil.wait_procs(children, STOP_S + 5)
        assert not [child for child in children if child.is_running()]


@pytest.mark.timeout(120)
def test_a_node_that_cannot_work_as_configured_ends_launch_with_a_failure(tmp_path: Path, domain: int) -> None:
    with launched(tmp_path, domain, "robot.launch.py", "simulated:=true") as robot:
        with contextlib.suppress(FileExistsError):
            (tmp_path / "run").mkdir()
        (tmp_path / "run" / "robots").write_text("no folder")  # what only the node itself can find out
        assert robot.process.wait(60) == 1
        assert "can't work as configured" in robot.text
        assert robot.text.count("process started with pid") == 3, "something was started again and again"


WRAPPER = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch_ros.actions import PushRosNamespace


def generate_launch_description():
    given = [("config", "{config}"), ("simulated", "true")]
    return LaunchDescription([GroupAction([
        PushRosNamespace("hall_2"), IncludeLaunchDescription("{launch}/robot.launch.py", launch_arguments=given)
    ])])
"""


@pytest.mark.timeout(120)
def test_a_namespace_that_is_pushed_is_in_front_of_every_name(tmp_path: Path, domain: int) -> None:
    files, peer = Files(tmp_path), Peer(domain)
    wrapper = files.write("hall.launch.py", WRAPPER.format(config=files.config, launch=LAUNCH))
    try:
        with launched(tmp_path, domain, str(wrapper)):
            wanted = {f"/hall_2/robot_1/{name}" for name in ("sim_robot_node", "safety_node", "policy_node")}

            def found() -> set[str]:
                return {f"{space}/{name}" for name, space in peer.node.get_node_names_and_namespaces()} - {"//peer"}

            wait_for(lambda: found() >= wanted, 60, "the nodes")
            assert found() == wanted

            def fleet() -> set[str]:
                return {name for name, _ in peer.node.get_topic_names_and_types() if "/fleet/" in name}

            assert wait_for(fleet, 20, "the fleet's e-stop topic") == {"/hall_2/fleet/estop"}
    finally:
        peer.close()
