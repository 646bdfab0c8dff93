"""`floop doctor`: checks that everything floop needs is here, and says how to repair what is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from floop_robot.cli.doctor_check import DoctorCheck
from floop_robot.cli.ros_checks import ros_checks
from floop_robot.learn.compiled_update import instruction_set
from floop_robot.spec.config import ENDPOINT_NAMES, FloopConfig
from floop_robot.spec.errors import FloopError
from floop_robot.spec.extras import EXTRAS, REINSTALL, install_hint
from floop_robot.spec.robot_model import load_robot
from floop_robot.transport.pass_over import compiled_pass_over

_LEAST_FREE_MB = 500
_REQUIREMENT = re.compile(r"^[\w-]+")


def _packages() -> Iterator[DoctorCheck]:
    requirements = importlib.metadata.requires("floop_robot") or []
    for name in (m[0] for r in requirements if "extra ==" not in r and (m := _REQUIREMENT.match(r))):
        try:
            yield DoctorCheck(name, True, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield DoctorCheck(name, False, True, "not installed", REINSTALL)
    for module in EXTRAS:
        found = importlib.util.find_spec(module) is not None
        yield DoctorCheck(module, found, False, "found" if found else "not installed", install_hint(module) or "")


def _machine() -> Iterator[DoctorCheck]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield DoctorCheck("python", sys.version_info >= (3, 11), True, version, "use Python 3.11 or newer")
    folder = Path.cwd()
    free_mb = shutil.disk_usage(folder).free // 2**20
    yield DoctorCheck(
        "disk",
        free_mb > _LEAST_FREE_MB,
        True,
        f"{free_mb} MB free in {folder}",
        f"free at least {_LEAST_FREE_MB} MB: runs are written to ./runs",
    )
    yield _writable(folder)
    cores = os.cpu_count() or 1
    yield DoctorCheck("cores", cores >= 2, False, str(cores), "the demo keeps real time on 2 cores or more")


def _writable(folder: Path) -> DoctorCheck:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return DoctorCheck("write", True, True, f"{folder} is writable")
    except OSError as error:
        cure = "change to a folder that you may write to"
        return DoctorCheck("write", False, True, f"{folder}: {error.strerror}", cure)


def _ports() -> Iterator[DoctorCheck]:
    endpoints = FloopConfig().endpoints
    for name in ENDPOINT_NAMES:
        host, port = getattr(endpoints, name).removeprefix("tcp://").split(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
                yield DoctorCheck(f"port {port}", True, False, f"free ({name})")
            except OSError as error:
                yield DoctorCheck(
                    f"port {port}",
                    False,
                    False,
                    f"{error.strerror} ({name})",
                    "a fleet is running here, or set endpoints.base_port",
                )


def _files() -> Iterator[DoctorCheck]:
    try:
        robot = load_robot(FloopConfig().robot.model)
        yield DoctorCheck("robot model", robot.urdf_path.is_file(), True, str(robot.urdf_path), REINSTALL)
    except FloopError as error:
        yield DoctorCheck("robot model", False, True, str(error), REINSTALL)


def _sac_update() -> DoctorCheck:
    name = instruction_set()
    detail = f"compiled for {name}" if name else "numpy, at half the speed"
    cure = "install floop from its checkout with a C compiler, on x86-64 with AVX2"
    return DoctorCheck("sac update", name is not None, False, detail, cure)


def _pass_over() -> DoctorCheck:
    is_compiled = compiled_pass_over() is not None
    detail = "dropped by compiled code" if is_compiled else "dropped by Python, 16 times as slowly"
    return DoctorCheck(
        "hostile messages", is_compiled, False, detail, "install floop from its checkout with a C compiler"
    )


def examine() -> list[DoctorCheck]:
    """Run every check, in the order shown."""
    return [*_machine(), *_packages(), _sac_update(), _pass_over(), *_files(), *ros_checks(), *_ports()]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def doctor(as_json: bool) -> int:
    """Check this installation and say how to repair it. Exit status 1 when something that floop needs is missing."""
    checks = examine()
    if as_json:
        click.echo(msgspec.json.encode(checks).decode())
    else:
        for check in checks:
            mark = "ok  " if check.ok else ("FAIL" if check.required else "note")
            cure = f"  → {check.cure}" if not check.ok and check.cure else ""
            click.echo(f"{mark}  {check.name:<18} {check.detail}{cure}")
    return 1 if any(c.required and not c.ok for c in checks) else 0
