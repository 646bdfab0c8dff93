"""`floop up` and `floop health`, with the processes of one real robot."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from floop_policies import bundle_path
from floop_robot.deploy.registry import Origin, read_history
from floop_robot.services.fleet_manager import REGISTRY_FILE
from floop_robot.services.supervision import preflight
from floop_robot.services.supervision.fleet_description import (
    ArmOptions,
    Middleware,
    central_processes,
    robot_processes,
    select_processes,
)
from floop_robot.services.supervision.preflight import check_simulation, check_start
from floop_robot.spec.config import Endpoints, FloopConfig, RobotConfig, save_config
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.robot_model import load_robot
from tests.support.cli_in_process import Floop
from tests.support.cli_process import floop as floop_process
from tests.support.ports import free_base_port
from tests.support.waiting import wait_for

STOP_S = 5.0


class Fleet:
    """`floop up` in a process of its own."""

    def __init__(self, folder: Path, *words: str, **config: object) -> None:
        self.config = folder / "site.yaml"
        fields = {"robots": 1, "explorers": 0, "run_dir": str(folder / "run")} | config
        fields.setdefault("endpoints", f"{{base_port: {free_base_port()}}}")
        self.config.write_text("\n".join(f"{name}: {value}" for name, value in fields.items()))
        self.log = folder / "up.log"
        command = [sys.executable, "-m", "floop_robot.cli", "up", "--no-ros", "--config", str(self.config), *words]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    def child(self, part: str) -> int | None:
        """Process id of a part, where it runs."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # one that has just ended
                if f"floop_robot.services.entry {part}" in " ".join(child.cmdline()):
                    return child.pid
        return None

    def has_logged(self, text: str) -> bool:
        return text in self.log.read_text()

    def health(self, *what: str) -> int:
        command = [sys.executable, "-m", "floop_robot.cli", "health", "--config", str(self.config), *what]
        return subprocess.run(command, check=False, capture_output=True).returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(STOP_S + 5)


@pytest.mark.timeout(120)
def test_what_is_killed_comes_back_is_reported_and_all_ends_with_ctrl_c(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "--only", "ingest", "--only", "fleet_manager", "--only", "robot_1")
    try:
        parts = ("ingest", "fleet_manager", "robot_1")
        wait_for(lambda: fleet.health(*parts) == 0, 60, "health")
        wait_for(lambda: fleet.has_logged("  all processes work"), 20, "the end of the start")
        first = fleet.child("safety")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        line = "robot_1.safety ended with exit status -9 and was started again"
        wait_for(lambda: fleet.has_logged(line), 20, "the report")
        wait_for(lambda: fleet.child("safety") not in (None, first), 20, "another safety process")
        wait_for(lambda: fleet.health("robot_1.safety") == 0, 20, "health of the new one")
        children = psutil.Process(fleet.process.pid).children(recursive=True)
        begin = time.monotonic()
        fleet.process.send_signal(signal.SIGINT)
        assert fleet.process.wait(STOP_S + 5) == 0
        assert time.monotonic() - begin < STOP_S
        assert not [child for child in children if child.is_running()]
        assert fleet.health(*parts) == 1
    finally:
        fleet.close()


@pytest.mark.timeout(60)
def test_a_process_that_cannot_work_as_configured_ends_the_fleet_with_one_line(tmp_path: Path) -> None:
    port = free_base_port()
    elsewhere = f"{{host: 203.0.113.1, base_port: {port}}}"  # an address for documents: no machine has it
    fleet = Fleet(tmp_path, "--only", "ingest", endpoints=elsewhere)
    try:
        assert fleet.process.wait(40) == 2
        (line,) = [line for line in fleet.log.read_text().splitlines() if line.startswith("floop: ")]
        assert "ingest stopped for good" in line
        assert f"203.0.113.1:{port}: this machine has no such address; change endpoints.host" in line
    finally:
        fleet.close()


@pytest.mark.parametrize(
    ("offset", "only", "name"),
    [
        (0, (), "ingest"),
        (1, ("--only", "ingest"), "ingest"),
        (2, ("--only", "centre"), "learner"),
        (3, ("--only", "gate"), "gate"),
        (5, (), "fleet_manager"),
        (6, ("--only", "learner"), "learner"),
    ],
)
def test_a_port_in_use_is_said_before_anything_is_started_or_written(
    floop: Floop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, only: tuple[str, ...], name: str
) -> None:
    monkeypatch.setattr(preflight, "PORT_FREE_S", 0.0)
    base_port = free_base_port()
    config = tmp_path / "site.yaml"
    config.write_text(f"{{run_dir: {tmp_path / 'run'}, robots: 1, endpoints: {{base_port: {base_port}}}}}")
    with socket.create_server(("127.0.0.1", base_port + offset)):
        done = floop("up", "--no-ros", "--config", config, *only)
    assert done.status == 2
    assert f"port {base_port + offset} is in use, and {name} cannot listen" in done.error
    assert f"another endpoints.base_port (now {base_port}), or stop the other fleet" in done.error
    assert not (tmp_path / "run").exists()


def test_a_port_that_a_fleet_leaves_is_waited_for(tmp_path: Path) -> None:
    base_port = free_base_port()
    config = FloopConfig(robots=1, run_dir=str(tmp_path / "run"), endpoints=Endpoints(base_port=base_port))
    with socket.create_server(("127.0.0.1", base_port)) as taken:
        leave = threading.Timer(0.5, taken.close)
        leave.start()
        check_start(config, central_processes(config, tmp_path / "floop.yaml"))
        assert taken.fileno() == -1, "it waited"
        leave.join()


def test_only_who_listens_here_minds_ports_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "PORT_FREE_S", 0.0)
    file, base_port = tmp_path / "floop.yaml", free_base_port()
    config = FloopConfig(robots=1, run_dir=str(tmp_path / "run"), endpoints=Endpoints(base_port=base_port))
    elsewhere = msgspec.structs.replace(config, endpoints=Endpoints(host="203.0.113.1", base_port=base_port))
    with socket.create_server(("127.0.0.1", base_port)) as taken:
        with pytest.raises(ConfigError, match=f"port {base_port} is in use"):
            check_start(config, central_processes(config, file))
        check_start(config, robot_processes(file, "robot_1"))
        check_start(elsewhere, central_processes(elsewhere, file))
        with socket.create_connection(taken.getsockname()):  # stays in TIME_WAIT, as when a fleet has just stopped
            taken.accept()[0].close()
    check_start(config, central_processes(config, file))


def test_an_arm_that_cannot_be_simulated_is_refused_only_where_it_would_be(floop: Floop, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = FloopConfig(robots=1, explorers=0, run_dir=str(run), robot=RobotConfig(model="ur5e"),
                         endpoints=Endpoints(base_port=free_base_port()))  # fmt: skip
    save_config(config, tmp_path / "site.yaml")
    done = floop("up", "--no-ros", "--config", tmp_path / "site.yaml", "--only", "robot_1")
    lacks = "robot ur5e cannot be simulated: its URDF lacks robotiq_85_left_knuckle_joint; add the gripper or use panda"
    assert (done.status, done.error) == (2, f"floop: {lacks}")
    assert not run.exists()
    real = ArmOptions(simulated=False)
    check_simulation(load_robot("ur5e"), select_processes(config, run / "floop.yaml", Middleware.ROS, (), real))
    practising = msgspec.structs.replace(config, explorers=1)
    with pytest.raises(ConfigError, match=r"ur5e cannot be simulated: .* set `explorers: 0`"):
        check_simulation(load_robot("ur5e"), central_processes(practising, run / "floop.yaml"))


@pytest.mark.timeout(120)
def test_a_fleet_that_has_begun_needs_its_first_bundle_no_more(tmp_path: Path) -> None:
    baseline = tmp_path / "first.floop"
    shutil.copy(bundle_path("pick"), baseline)
    base_port = free_base_port()
    for _ in range(2):
        fleet = Fleet(tmp_path, "--only", "fleet_manager", baseline=baseline, endpoints=f"{{base_port: {base_port}}}")
        try:
            wait_for(lambda f=fleet: f.health("fleet_manager") == 0, 40, "health")
        finally:
            fleet.close()
        baseline.unlink(missing_ok=True)
    versions = read_history(tmp_path / "run" / REGISTRY_FILE).versions
    assert [version.origin for version in versions] == [Origin.BASELINE], "the second start published another one"


def test_a_run_of_an_older_floop_is_refused_before_anything_in_it_changes(floop: Floop, tmp_path: Path) -> None:
    run = tmp_path / "run"
    registry = run / REGISTRY_FILE
    registry.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(registry)) as connection:
        connection.execute("PRAGMA user_version = 1")
    (run / "floop.yaml").write_text("robots: 2\n")
    config = tmp_path / "site.yaml"
    config.write_text(f"run_dir: {run}\n")
    line = floop("up", "--no-ros", "--config", config).error
    assert "has schema 1" in line and "choose another run_dir" in line
    assert (run / "floop.yaml").read_text() == "robots: 2\n"
    assert not (run / "logs").exists()


@pytest.mark.parametrize(
    ("module", "words", "users", "extra"),
    [
        ("torch", (), "learner", "learn"),
        ("pybullet", (), "gate, fitter, explorer_1 and 1 more", "sim"),
        ("pybullet", ("--only", "robot_1"), "robot_1.sim_robot", "sim"),
    ],
)
def test_without_a_module_that_it_needs_nothing_is_started_or_written(
    floop: Floop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    words: tuple[str, ...],
    users: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    config = tmp_path / "site.yaml"
    config.write_text(f"{{run_dir: {tmp_path / 'run'}, robots: 1, explorers: 1}}")
    done = floop("up", "--no-ros", "--config", config, *words)
    assert done.status == 2
    assert f"{module} is not installed, and without it " in done.error and f'".[{extra}]"' in done.error
    assert set(users.replace(" and 1 more", "").split(", ")) <= {w.strip(",") for w in done.error.split()}
    assert not (tmp_path / "run").exists()


@pytest.mark.timeout(60)
def test_a_part_that_runs_already_is_not_started_again(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "--only", "ingest")
    try:
        wait_for(lambda: fleet.health("ingest") == 0, 40, "health")
        command = [sys.executable, "-m", "floop_robot.cli", "up", "--no-ros", "--config", str(fleet.config)]
        again = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (again.returncode, again.stdout) == (2, "")
        line = again.stderr.splitlines()[-1]
        assert line.startswith(f"floop: ingest is running already (started by process {fleet.process.pid}; its log: ")
        assert not fleet.has_logged("started again")
    finally:
        fleet.close()


def test_what_no_process_could_work_with_is_said_before_any_is_started(floop: Floop, tmp_path: Path) -> None:
    for field, file in (("baseline", "no.floop"), ("operators", "no.yaml")):
        config = tmp_path / "site.yaml"
        config.write_text(f"run_dir: {tmp_path / 'run'}\n{field}: {tmp_path / file}\n")
        assert f"{file}: No such file" in floop("up", "--no-ros", "--config", config).error
    shutil.copy(bundle_path("pick"), tmp_path / "sac.floop")
    for algo, says in (("ppo", "was trained with sac, but the fleet learns with ppo"), ("sac", "sac.learner is not")):
        config.write_text(
            f"run_dir: {tmp_path / 'run'}\nbaseline: {tmp_path / 'sac.floop'}\nlearner: {{algo: {algo}}}\n"
        )
        assert says in floop("up", "--no-ros", "--config", config).error
    config.write_text("robots: [1,\n")
    assert "site.yaml, line 2, column 1 is not valid YAML" in floop("up", "--no-ros", "--config", config).error
    config.write_text("robots: 2\nrobots: 3\n")
    twice = floop("up", "--no-ros", "--config", config).error
    assert twice.endswith("site.yaml, line 2, column 1 is not valid YAML: robots is there twice")
    assert not (tmp_path / "run").exists()


def test_a_fleet_that_runs_keeps_its_world_when_another_start_is_refused(floop: Floop, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "--only", "ingest", "--shift", "flat")
    try:
        wait_for(lambda: fleet.health("ingest") == 0, 40, "health")
        world = (tmp_path / "run" / "sim_world.json").read_text()
        assert "flat" in world
        refused = floop("up", "--no-ros", "--config", fleet.config, "--shift", "small")
        assert "ingest is running already" in refused.error
        assert (tmp_path / "run" / "sim_world.json").read_text() == world
    finally:
        fleet.close()


def test_a_robot_needs_no_simulator_to_start(tmp_path: Path) -> None:
    """As after `pip install .` alone."""
    blocked = ("torch", "stable_baselines3", "pybullet", "gymnasium", "rclpy", "floop_interfaces")
    program = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {blocked}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from floop_robot.cli.main import main\n"
        "sys.argv = ['floop', 'up', '--no-ros', '--only', 'robot_1', '--config', 'nowhere.yaml']\n"
        "main()\n"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr == "floop: cannot read nowhere.yaml: No such file or directory; check the path\n"


def test_status_watch_waits_for_a_fleet_that_starts_and_tells_that_it_stopped(tmp_path: Path) -> None:
    """`floop status --watch`, then `floop up`, its end, and Ctrl-C."""
    with floop_process(tmp_path, "status", "--watch", "--every", "0.1") as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("no status: no fleet was started here")
        fleet = Fleet(tmp_path, "--only", "fleet_manager", run_dir="runs/mine")
        try:
            assert any(line == "fleet of runs/mine\n" for line in watching.stdout)
            assert any("production v1" in line for line in watching.stdout)
        finally:
            fleet.close()
        stopped = "no status: the fleet of runs/mine has stopped; start it again"
        assert any(line.startswith(stopped) for line in watching.stdout)
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=10)
        assert (watching.returncode, err) == (0, "")


def test_mistakes_are_one_line(floop: Floop, tmp_path: Path) -> None:
    assert "unknown part of the fleet 'robot_11'; known: robot_1" in floop("up", "--only", "robot_11").error
    assert "unknown shift 'new-objekt'" in floop("up", "--shift", "new-objekt").error
    assert "cannot read the parameters in no.yaml: No such file" in floop("up", "--params-file", "no.yaml").error
    assert not (tmp_path / "runs").exists()
    assert "need ROS, but --no-ros is set; leave out --no-ros" in floop("up", "--no-ros", "--no-sim").error
    assert "missing.yaml" in floop("health", "--config", tmp_path / "missing.yaml").error
