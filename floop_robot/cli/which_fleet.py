"""Which fleet a command means: the one of `--config`, or the one that runs here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from floop_robot.cli.running_fleets import configs_on_this_host
from floop_robot.durable.locks import is_running
from floop_robot.services.supervision.fleet_description import CONFIG_FILE
from floop_robot.services.supervision.stopped_run import stopped_reason
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.spec.errors import ConfigError

RUNS = Path("runs")
HISTORY = "`floop audit`, `floop policies` and `floop logs` read what it left"


class NoFleet(ConfigError):
    """No fleet runs that could be meant."""


def fleet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command that asks a fleet."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)
    return click.option("--config", type=click.Path(path_type=Path), default=None,
                        help="The fleet's floop.yaml; left out: of the one that runs here.")(command)  # fmt: skip


def _configurations() -> list[Path]:
    return sorted(RUNS.glob(f"*/{CONFIG_FILE}"))


def running_fleet(config: Path | None, *, announce: bool = True) -> FloopConfig:
    """As `fleet_config`, for who asks it or commands it: raises `NoFleet` when it ran here and has stopped."""
    return check_running(fleet_config(config, announce=announce), is_given=config is not None)


def check_running(fleet: FloopConfig, *, is_given: bool) -> FloopConfig:
    """Return `fleet`, or raise `NoFleet` when it ran here and has stopped. `is_given`: by a `--config`.

    Another fleet may run on its ports, and a command to the wrong fleet can do harm.
    """
    if reason := stopped_reason(fleet):
        raise NoFleet(f"{reason}. {HISTORY}")
    if not is_given and not is_running(Path(fleet.run_dir)):
        raise NoFleet(f"the fleet of {fleet.run_dir} is not running; start it with `floop up`, or give --config")
    return fleet


def fleet_config(config: Path | None, *, announce: bool = True) -> FloopConfig:
    """The configuration of the fleet that is meant. If `config` is None it is found, and named on stderr.

    Raises `NoFleet` when there is none, and `ConfigError` when several run here: a command to the wrong fleet can do
    harm. `announce`: whether to name it.
    """
    if config is not None:
        return _of_run(config)
    found = _configurations()
    if not found:
        raise NoFleet(f"no fleet was started here (no {RUNS}/*/{CONFIG_FILE}); {_elsewhere() or 'give --config FILE'}")
    running = [file for file in found if is_running(file.parent)]
    if len(running) > 1:
        names = ", ".join(map(str, running))
        raise ConfigError(f"{len(running)} fleets run here; say which one: --config with one of {names}")
    chosen = running[0] if running else max(found, key=lambda file: file.stat().st_mtime)
    idle = "" if running else ", the last one that was begun here; none is running here"
    if idle and (others := _elsewhere()):
        idle += f"; {others}"
    if announce:
        click.echo(f"fleet of {chosen.parent}{idle}", err=True)
    return _of_run(chosen)


def _elsewhere() -> str:
    """What to give for the fleets that run on this host below other folders; empty when there is none."""
    found = configs_on_this_host()
    return f"running on this host: {', '.join(f'--config {file}' for file in found)}" if found else ""


def _of_run(file: Path) -> FloopConfig:
    """Read a configuration. One that lies in its run directory means that one, from whichever folder it is read."""
    config, folder = load_config(file), file.resolve().parent
    parts = Path(config.run_dir).parts
    is_run = file.name == CONFIG_FILE and folder.parts[-len(parts) :] == parts and folder != Path.cwd() / config.run_dir
    return msgspec.structs.replace(config, run_dir=str(folder)) if is_run else config
