"""`floop hold`: keep a robot, or the fleet, on what it has."""

from __future__ import annotations

import click

from floop_robot.cli.operator_options import Operator, command_options, show_done
from floop_robot.deploy.registry import FLEET


@click.command()
@click.argument("scope", default=FLEET)
@command_options
def hold(scope: str, operator: Operator) -> None:
    """Let no newer version reach SCOPE (a robot; left out: the whole fleet) by itself."""
    with operator.connect() as client:
        show_done(operator, client, client.hold(scope, operator.why))
