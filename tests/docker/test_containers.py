"""The images' scripts outside any container, and what Dockerfile and compose file promise."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from floop_robot.services.supervision.fleet_description import Middleware, select_processes, simulated_fleet
from floop_robot.spec.config import load_config
from tests.support.ports import free_base_port
from tests.support.waiting import wait_for

DOCKER = Path(__file__).parents[2] / "docker"
ROOT = DOCKER.parent
FLEET = load_config(DOCKER / "fleet.yaml")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What the images set, for an installation that is this one."""
    (folder / "ros.bash").write_text('export SOURCED="${UNSET_BEFORE}yes"\nfalse\n')
    given = {
        "FLOOP_PREFIX": sys.prefix,
        "FLOOP_SETUP": str(folder / "ros.bash"),
        "PATH": f"{DOCKER}:{os.environ['PATH']}",
    }
    return os.environ | given | more


def run(name: str, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DOCKER / name, *words], env=env, capture_output=True, text=True, check=False, timeout=60)


def test_the_entry_point_sources_what_it_is_told_and_becomes_the_command(tmp_path: Path) -> None:
    script = 'echo "$SOURCED $$ $AMENT_PREFIX_PATH"; exit 7'
    with subprocess.Popen(
        [DOCKER / "entry_point.sh", "bash", "-c", script], env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        sourced, pid, prefixes = process.stdout.read().split()
    assert (sourced, int(pid), process.returncode) == ("yes", process.pid, 7)
    assert prefixes.split(":")[0] == sys.prefix


def test_without_a_command_it_shows_the_help(tmp_path: Path) -> None:
    found = run("entry_point.sh", env=environment(tmp_path))
    assert found.returncode == 0, found.stderr
    assert "Usage" in found.stdout


def test_a_setup_file_that_is_missing_is_named_in_one_line(tmp_path: Path) -> None:
    found = run("entry_point.sh", "true", env=environment(tmp_path, FLOOP_SETUP="/opt/ros/none/setup.bash"))
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "/opt/ros/none/setup.bash" in found.stderr


def test_the_health_check_of_an_image_by_itself_examines_the_installation(tmp_path: Path) -> None:
    found = run("health_check.sh", env=environment(tmp_path))
    assert found.returncode == 0, found.stdout + found.stderr
    assert "robot model" in found.stdout


@pytest.mark.timeout(120)
def test_a_container_s_command_runs_is_healthy_and_ends_when_told(tmp_path: Path) -> None:
    config = tmp_path / "fleet.yaml"
    config.write_text(f"robots: 1\nrun_dir: {tmp_path / 'run'}\nendpoints: {{base_port: {free_base_port()}}}\n")
    env = environment(tmp_path, FLOOP_CONFIG=str(config), FLOOP_HEALTH="ingest")
    with (tmp_path / "log").open("wb") as log:
        command = [DOCKER / "entry_point.sh", "floop", "up", "--no-ros", "--only", "ingest"]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=tmp_path)
    try:
        wait_for(lambda: run("health_check.sh", env=env).returncode == 0, 40, "health")
        process.send_signal(signal.SIGINT)  # STOPSIGNAL
        assert process.wait(8) == 0
        assert run("health_check.sh", env=env).returncode == 1
    finally:
        process.kill()
        process.wait()


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    return found


def default_command(target: str) -> list[str]:
    text = (DOCKER / "Dockerfile").read_text().partition(f" AS {target}\n")[2]
    found: list[str] = yaml.safe_load(re.findall(r"^CMD (.*)$", text, re.M)[0])
    return found


def test_compose_starts_every_process_of_its_fleet_once_and_asks_after_each(tmp_path: Path) -> None:
    started: list[str] = []
    for name, service in services().items():
        if name == "network":
            continue
        command = service.get("command") or default_command(service["build"]["target"])
        only = [word for flag, word in itertools.pairwise(command) if flag == "--only"]
        started += [spec.name for spec in select_processes(FLEET, tmp_path, Middleware.ROS, only)]
        asked = shlex.split(service["environment"]["FLOOP_HEALTH"])
        begun = {spec.name for spec in select_processes(FLEET, tmp_path, Middleware.ROS, only)}
        assert {spec.name for spec in select_processes(FLEET, tmp_path, Middleware.ROS, asked)} >= begun - {
            "learner_node"
        }
    wanted = [spec.name for spec in simulated_fleet(FLEET, tmp_path, Middleware.ROS)]
    assert sorted(started) == sorted(wanted)


def test_no_container_can_become_root_or_write_outside_its_volume() -> None:
    for name, service in services().items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["read_only"] is True, name
        assert "ports" not in service, name


def test_images_are_pinned_by_digest_and_run_as_a_numbered_user() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    (image,) = re.findall(r"^ARG ROS_IMAGE=(\S+)$", text, re.M)
    assert re.fullmatch(r"ros:jazzy-ros-base@sha256:[0-9a-f]{64}", image)
    stages = re.split(r"^FROM ", text, flags=re.M)[1:]
    final = {stage.split()[2]: stage for stage in stages if "\nCMD " in stage}
    assert set(final) == {"robot", "sim_robot", "fleet_manager", "learner"}
    assert all("USER 10001:10001" in stage for stage in final.values())
    assert [name for name, stage in final.items() if "build-learner" in stage] == ["learner"]


def test_what_the_dockerfile_copies_is_there() -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)$", (DOCKER / "Dockerfile").read_text(), re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
