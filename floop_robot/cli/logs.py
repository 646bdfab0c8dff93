"""`floop logs`: what the processes of a fleet wrote, by name."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from floop_robot.cli.which_fleet import fleet_config
from floop_robot.services.supervision.fleet_description import CENTRE
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import StorageError, UnknownName
from floop_robot.spec.local_time import local_time

LINES = 20
_BLOCK = 64 * 1024
_LINE_CHARACTERS = 2000
"""Of a longer line only the beginning is shown."""
_POLL_S = 0.2


class LogFile(msgspec.Struct, frozen=True):
    """The log of one process."""

    process: str
    path: str
    bytes: int
    written_ns: int
    """When something was written last, wall clock."""
    lines: tuple[str, ...]
    """The last ones."""


@click.command()
@click.argument("names", nargs=-1)
@click.option("--config", type=click.Path(path_type=Path), default=None,
              help="The fleet's floop.yaml; left out: of the one that runs here, or ran last.")  # fmt: skip
@click.option("--lines", default=None, type=click.IntRange(0), metavar="N",
              help=f"The last N lines of each. Left out: {LINES}, and 1 without NAMES.")  # fmt: skip
@click.option("--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def logs(names: tuple[str, ...], config: Path | None, lines: int | None, follow: bool, as_json: bool) -> None:
    """Show which log files the fleet's processes have and their last lines, also of a fleet that has stopped.

    NAMES: processes (fleet_manager, robot_1.policy), robots, or `centre` for all that belong to no robot.
    """
    if follow and as_json:
        raise click.UsageError("--follow prints lines as they come: leave out --json")
    found = fleet_config(config)
    folder = Path(found.run_dir) / "logs"
    paths = _chosen(folder, names, found)
    most = lines if lines is not None else LINES if names else 1
    files = [_read(path, most) for path in paths]
    if as_json:
        click.echo(msgspec.json.encode(files).decode())
        return
    for file in files:
        click.echo(f"{file.process:<18} {local_time(file.written_ns)}  {file.bytes} bytes  {file.path}")
        for line in file.lines:
            click.echo(f"    {line}")
    if follow:
        _follow(folder, names, found, {Path(file.path): file.bytes for file in files})


def _chosen(folder: Path, names: Sequence[str], config: FloopConfig) -> list[Path]:
    """The logs of these processes, robots or parts; of all when none is named. Raises `FloopError`."""
    paths = sorted(path for path in folder.glob("*.log") if path.is_file())
    if not paths:
        raise StorageError(
            f"there are no logs in {folder}: `floop up` writes them there; what `ros2 launch` starts writes to "
            "ROS_LOG_DIR (~/.ros/log)"
        )
    if not names:
        return paths
    groups: dict[str, list[Path]] = {robot: [] for robot in config.robot_names}
    for path in paths:
        robot = path.stem.rpartition(".")[0]
        groups[path.stem] = [path]
        groups.setdefault(robot or CENTRE, []).append(path)
    for name in names:
        if not groups.get(name):
            raise UnknownName("process or robot", name, sorted(groups), str(folder))
    return sorted({path for name in names for path in groups[name]})


def _read(path: Path, most: int) -> LogFile:
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        data, start = b"", found.st_size
        longest = _BLOCK + most * _LINE_CHARACTERS  # a file may be one line
        while start and data.count(b"\n") <= most and len(data) < longest:
            begin = max(0, start - _BLOCK)
            file.seek(begin)
            data, start = file.read(start - begin) + data, begin
    lines = _lines(data)
    return LogFile(path.stem, str(path), found.st_size, found.st_mtime_ns, tuple(lines[len(lines) - most :][:most]))


def _lines(data: bytes) -> list[str]:
    """As a terminal can show them: other processes write these files, and may write control sequences."""
    found = data.decode(errors="replace").splitlines()
    return ["".join(c if c.isprintable() or c == "\t" else "?" for c in _shortened(line)) for line in found]


def _shortened(line: str) -> str:
    return line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]}…"


def _follow(folder: Path, names: Sequence[str], config: FloopConfig, seen: dict[Path, int]) -> None:
    """Print what is written beyond `seen` bytes, also by processes that begin later; each line with its process."""
    try:
        while True:
            for path in _chosen(folder, names, config):
                seen[path] = _print_new(path, seen.get(path, 0))
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        return


def _print_new(path: Path, begin: int) -> int:
    """Print whole lines from `begin` on; returns where the next one begins."""
    size = path.stat().st_size
    begin = 0 if size < begin else begin  # it was begun anew
    with path.open("rb") as file:
        file.seek(begin)
        data = file.read(size - begin)
    whole = data[: data.rfind(b"\n") + 1]
    for line in _lines(whole):
        click.echo(f"{path.stem}: {line}")
    return begin + len(whole)
