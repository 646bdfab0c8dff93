"""The checks of `floop doctor` for ROS 2: is it installed, does it load, how far do its messages go. Imports no ROS."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator

from floop_robot.cli.doctor_check import DoctorCheck
from floop_robot.services.supervision.ros_domain import (
    child_environment,
    discovery_range,
    reach_in_words,
    ros_unavailable_reason,
)

_INSTALL = "make setup-ros, or source your distribution's setup.bash; without it fleets run ROS-free"
_PROBE = "import rclpy, rclpy.executors, floop_interfaces.msg, floop_interfaces.srv, floop_interfaces.action"
_PROBE_LIMIT_S = 30.0


def ros_checks() -> Iterator[DoctorCheck]:
    """Run every check for ROS; none is required."""
    missing = ros_unavailable_reason()
    if missing:
        yield DoctorCheck("ROS 2", False, False, missing, _INSTALL)
        return
    yield DoctorCheck("ROS 2", True, False, _which())
    yield _works()
    # Not `launch` itself: this project's folder of launch files looks like a package of that name.
    launch = importlib.util.find_spec("launch_ros") is not None
    yield DoctorCheck(
        "ros2 launch", launch, False, "found" if launch else "not found", "floop up starts the same processes"
    )
    yield _reach()


def _which() -> str:
    distribution = os.environ.get("ROS_DISTRO", "")
    for name in ("ros-rclpy", "rclpy"):
        try:
            found = f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
        return f"{found} of {distribution}" if distribution else found
    return f"rclpy of {distribution}" if distribution else "rclpy"


def _works() -> DoctorCheck:
    # In a separate process: libraries that do not fit together can crash it.
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env=child_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROBE_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return DoctorCheck("ROS works", False, False, f"importing it took longer than {_PROBE_LIMIT_S:.0f} s", _INSTALL)
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    detail = "rclpy and floop_interfaces load" if done.returncode == 0 else lines[-1]
    return DoctorCheck("ROS works", done.returncode == 0, False, detail, "make setup-ros builds floop_interfaces again")


def _reach() -> DoctorCheck:
    reach = discovery_range(os.environ)
    here, detail = reach in ("LOCALHOST", "OFF"), reach_in_words(os.environ)
    cure = "set ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, or nodes that you start by hand send to the whole network"
    return DoctorCheck("ROS reach", here, False, detail, cure)
