"""`floop policies`: the versions of a running fleet."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from floop_robot.cli.which_fleet import fleet_options, starting_fleet
from floop_robot.deploy import FleetClient, Policies
from floop_robot.deploy.messages import GetPolicies
from floop_robot.spec.calibration import calibration_text


@click.command()
@fleet_options
def policies(config: Path | None, as_json: bool) -> None:
    """List all versions, oldest first: where they come from, and when they were published."""
    with FleetClient(starting_fleet(config).endpoints.fleet_rpc) as client:
        found = client.ask(GetPolicies(), Policies)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for v in found.versions:
        aliases = {"production": found.production, "baseline": found.baseline}
        marks = [name for name, version in aliases.items() if version == v.version]
        when = time.strftime("%H:%M:%S", time.localtime(v.published_ns / 1e9))
        restores = f", bytes of v{v.restores}" if v.restores else ""
        corrects = f"corrects {calibration_text(v.calibration)}" if v.calibration else ""
        click.echo(
            f"v{v.version:<4} {when}  {v.origin}{restores}, parent v{v.parent}, by {v.who}  "
            f"{v.sha256[:12]}  {' '.join((*marks, corrects))}".rstrip()
        )
