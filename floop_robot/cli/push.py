"""`floop push`: give a policy to a running fleet."""

from __future__ import annotations

from pathlib import Path

import click

from floop_robot.cli.fleet import connect, fleet_options, show_done


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--why", default="", help="Reason, for the audit log.")
@fleet_options
def push(bundle: Path, why: str, config: Path | None, as_json: bool) -> None:
    """Publish BUNDLE to the whole fleet under a new version, whatever the gate thinks of it."""
    from floop_robot.bundle import Bundle

    blob = Bundle.load(bundle)
    with connect(config) as client:
        show_done(client.push(blob, why), client, as_json)
