"""Which fleet a command means: the one of `--config`, or the one that runs here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

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
        return load_config(config)
    found = _configurations()
    if not found:
        raise NoFleet(f"no fleet was started here (no {RUNS}/*/{CONFIG_FILE}); give --config FILE")
    running = [file for file in found if is_running(file.parent)]
    if len(running) > 1:
        names = ", ".join(map(str, running))
        raise ConfigError(f"{len(running)} fleets run here; say which one: --config with one of {names}")
    chosen = running[0] if running else max(found, key=lambda file: file.stat().st_mtime)
    idle = "" if running else ", the last one that was begun here; none is running"
    if announce:
        click.echo(f"fleet of {chosen.parent}{idle}", err=True)
    return load_config(chosen)
