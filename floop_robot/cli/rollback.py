"""`floop rollback`: return a running fleet to an earlier policy."""

from __future__ import annotations

import contextlib

import click

from floop_robot.cli.operator_options import Operator, command_options, show_published, version_number, wait_option
from floop_robot.deploy.registry import FLEET
from floop_robot.spec.errors import FloopError


@click.command()
@click.argument("version", default="", callback=version_number)
@wait_option
@command_options
def rollback(version: int, wait_s: float, operator: Operator) -> None:
    """Publish the bytes of VERSION again under a new version (left out: the one before production).

    Candidates that the gate accepts may follow it; `floop hold fleet` keeps it.
    """
    with operator.connect() as client:
        show_published(operator, client, client.rollback(version, operator.why), FLEET, wait_s)
        with contextlib.suppress(FloopError):  # the rollback was carried out
            if not operator.as_json and not client.status().fleet.held:
                click.echo("candidates that the gate accepts may follow it; `floop hold fleet` keeps it")
