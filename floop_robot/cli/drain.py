"""`floop drain`: take a robot out of work after its current episode, or back in."""

from __future__ import annotations

import click

from floop_robot.cli.operator_options import Operator, command_options, read_effect, show, wait_option
from floop_robot.deploy.convergence import wait_until_drained


@click.command()
@click.argument("scope")
@click.option("--end", is_flag=True, help="Let it work again.")
@wait_option
@command_options
def drain(scope: str, end: bool, wait_s: float, operator: Operator) -> None:
    """Have SCOPE (a robot, or fleet) finish its episode, start no other and hold the arm; with --end, work again."""
    with operator.connect() as client:
        done = client.drain(scope, not end, operator.why)
        found = read_effect(lambda: wait_until_drained(client, not end, scope, wait_s))
    words = ("may work", "still drained") if end else ("idle", "still at work")
    show(operator, done, found, found.text(*words))
