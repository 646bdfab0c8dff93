"""What the operators' commands share: which fleet is meant, and how its answers are shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from floop_robot.rollout import Done, FleetClient
from floop_robot.spec.config import load_config
from floop_robot.spec.errors import ConfigError

RUNS = Path("runs")


def fleet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that every operator's command has."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)
    return click.option("--config", type=click.Path(path_type=Path), default=None,
                        help="The fleet's floop.yaml; left out, the newest run below runs/.")(command)  # fmt: skip


def connect(config: Path | None) -> FleetClient:
    """A client of the fleet's manager; raises `ConfigError` when no fleet can be found."""
    return FleetClient(load_config(config or _newest()).endpoints.fleet_rpc)


def _newest() -> Path:
    found = sorted(RUNS.glob("*/floop.yaml"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ConfigError(f"no fleet was started here (no {RUNS}/*/floop.yaml); give --config FILE")
    return found[-1]


def show_done(done: Done, client: FleetClient, as_json: bool) -> None:
    """Who did what and when, and which robots act on what now."""
    robots = {robot.robot: robot.version for robot in client.status().robots}
    if as_json:
        click.echo(msgspec.json.encode({"done": done, "robots": robots}).decode())
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(done.stamp_ns / 1e9))
    click.echo(f"{when}  {done.who}: {done.what}" + (f" (v{done.version})" if done.version else ""))
    click.echo("now acting: " + ", ".join(f"{name} v{version}" for name, version in robots.items()))
