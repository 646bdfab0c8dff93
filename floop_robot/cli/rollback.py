"""`floop rollback`: return a running fleet to an earlier policy."""

from __future__ import annotations

import click

from floop_robot.cli.fleet import Operator, order_options, show_published, version_number, wait_option
from floop_robot.registry import FLEET


@click.command()
@click.argument("version", default="", callback=version_number)
@wait_option
@order_options
def rollback(version: int, wait_s: float, operator: Operator) -> None:
    """Publish the bytes of VERSION again under a new version (left out: the one before production).

    Candidates that the gate accepts may follow it; `floop hold fleet` keeps it.
    """
    with operator.connect() as client:
        show_published(operator, client, client.rollback(version, operator.why), FLEET, wait_s)
        is_held = client.status().fleet.held
    if not operator.as_json and not is_held:
        click.echo("candidates that the gate accepts may follow it; `floop hold fleet` keeps it")
