"""`floop resume`: let new versions follow again."""

from __future__ import annotations

import click

from floop_robot.cli.operator_options import Operator, command_options, show_published, wait_option
from floop_robot.deploy.registry import FLEET


@click.command()
@click.argument("scope", default=FLEET)
@wait_option
@command_options
def resume(scope: str, wait_s: float, operator: Operator) -> None:
    """End hold and pin of SCOPE (a robot; left out: the whole fleet)."""
    with operator.connect() as client:
        show_published(operator, client, client.resume(scope, operator.why), scope, wait_s)
