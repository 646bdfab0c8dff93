"""Which fleet a command means: the one of `--config`, or the one that runs here."""

from __future__ import annotations

import time
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
STARTING_S = 5.0
"""`floop up` marks its fleet as running within this time."""
_POLL_S = 0.1


def fleet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command that asks a fleet."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)
    return click.option("--config", type=click.Path(path_type=Path), default=None,
                        help="The fleet's floop.yaml; left out: of the one that runs here.")(command)  # fmt: skip


def starting_fleet(config: Path | None) -> FloopConfig:
    """As `running_fleet`, for questions: while none runs, it waits, since one may have been started just now."""
    deadline_s = time.monotonic() + STARTING_S
    while not _is_running(config) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    return running_fleet(config)


def _is_running(config: Path | None) -> bool:
    if config is not None:
        return not stopped_reason(load_config(config))
    return any(is_running(file.parent) for file in _configurations())


def _configurations() -> list[Path]:
    return sorted(RUNS.glob(f"*/{CONFIG_FILE}"))


def running_fleet(config: Path | None) -> FloopConfig:
    """As `fleet_config`, for who asks it or commands it: raises `ConfigError` when it ran here and has stopped."""
    return check_running(fleet_config(config))


def check_running(fleet: FloopConfig) -> FloopConfig:
    """Return `fleet`, or raise `ConfigError` when it ran here and has stopped.

    Another fleet may run on its ports, and a command to the wrong fleet can do harm.
    """
    if reason := stopped_reason(fleet):
        raise ConfigError(reason)
    return fleet


def fleet_config(config: Path | None) -> FloopConfig:
    """The configuration of the fleet that is meant. If `config` is None it is found, and named on stderr.

    Raises `ConfigError` when there is none, or when several run here: a command to the wrong fleet can do harm.
    """
    if config is not None:
        return load_config(config)
    found = _configurations()
    if not found:
        raise ConfigError(f"no fleet was started here (no {RUNS}/*/{CONFIG_FILE}); give --config FILE")
    running = [file for file in found if is_running(file.parent)]
    if len(running) > 1:
        names = ", ".join(map(str, running))
        raise ConfigError(f"{len(running)} fleets run here; say which one: --config with one of {names}")
    chosen = running[0] if running else max(found, key=lambda file: file.stat().st_mtime)
    idle = "" if running else ", the last one that was begun here; none is running"
    click.echo(f"fleet of {chosen.parent}{idle}", err=True)
    return load_config(chosen)
