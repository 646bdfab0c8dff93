"""`floop rollback`: return a running fleet to an earlier policy."""

from __future__ import annotations

from pathlib import Path

import click

from floop_robot.cli.fleet import connect, fleet_options, show_done


@click.command()
@click.argument("version", default=0, type=click.IntRange(0))
@fleet_options
def rollback(version: int, config: Path | None, as_json: bool) -> None:
    """Publish the bytes of VERSION again under a new version (left out: the one before production)."""
    with connect(config) as client:
        show_done(client.rollback(version), client, as_json)
