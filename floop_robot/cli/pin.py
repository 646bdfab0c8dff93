"""`floop pin`: keep a robot, or the fleet, on one version."""

from __future__ import annotations

import click

from floop_robot.cli.operator_options import Operator, command_options, show_published, version_number, wait_option


@click.command()
@click.argument("scope")
@click.argument("version", callback=version_number)
@wait_option
@command_options
def pin(scope: str, version: int, wait_s: float, operator: Operator) -> None:
    """Put SCOPE (a robot, or fleet) on VERSION and keep it there until `floop resume`."""
    with operator.connect() as client:
        show_published(operator, client, client.pin(scope, version, operator.why), scope, wait_s)
