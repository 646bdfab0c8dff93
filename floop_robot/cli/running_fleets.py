"""Fleets that run on this host, wherever they were started: found by the command lines of their processes."""

from __future__ import annotations

from pathlib import Path

from floop_robot.durable.locks import is_running
from floop_robot.services.supervision.fleet_description import CONFIG_FILE

_ROS_PARAMETER = "config:="


def configs_on_this_host() -> list[Path]:
    """Their `floop.yaml` files, as absolute paths; of other users' fleets only those that may be seen."""
    found = {file for process in Path("/proc").glob("[0-9]*") for file in _configs_of(process)}
    return sorted(file for file in found if is_running(file.parent))


def _configs_of(process: Path) -> set[Path]:
    """The configurations that a process of `/proc` was started with."""
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        names = [word.removeprefix(_ROS_PARAMETER) for word in words if word.endswith(f"/{CONFIG_FILE}")]
        return {((process / "cwd").readlink() / name).resolve() for name in names}
    except OSError:  # it has ended, or is another user's
        return set()
