"""`floop push`, `rollback`, `pin`, `hold`, `resume`, `drain`: operators' commands to a running fleet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from floop_robot.cli.operator_options import (
    Operator,
    command_options,
    if_version_option,
    number_of,
    version_number,
    wait_option,
)
from floop_robot.cli.zip_options import zip_options
from floop_robot.deploy import Drain, Hold, Pin, Push, Refused, Resume, Rollback
from floop_robot.deploy.registry import FLEET
from floop_robot.services.import_zip import is_zip, read_policy
from floop_robot.spec.errors import FloopError


def _fleet_command(function: Callable[..., Any]) -> click.Command:
    return click.command()(if_version_option(command_options(function)))


@_fleet_command
@click.argument("policy")
@click.option("--robot", default="", help="Put it on this robot alone, which is then pinned to it.")
@zip_options
@wait_option
def push(policy: str, robot: str, trust: bool, vecnormalize: Path | None, operator: Operator, **fields: Any) -> None:
    """Publish POLICY to the fleet under a new version, without asking the gate.

    POLICY is a bundle (.floop), a version of this fleet (v12), or with --trust a stable-baselines3 zip.
    """
    path, name = Path(policy), ""
    if not path.exists() and (version := number_of(policy)):
        fields["version"] = version
    else:
        # Only a zip has to be made for the fleet's task: what can't be read is told where no fleet is, too.
        task, arm = (operator.fleet.task, operator.fleet.robot.model) if is_zip(path) else ("", "")
        bundle = read_policy(path, task, arm, trust=trust, vecnormalize=vecnormalize)
        fields["bundle"], name = bundle.to_bytes(), bundle.manifest.title
    try:
        operator.carry_out(Push, scope=robot or FLEET, **fields)
    except Refused as refused:  # it knows no file
        raise Refused(str(refused).replace(name, f"{policy} ({name})") if name else str(refused)) from None


@_fleet_command
@click.argument("version", required=False, callback=version_number)
@wait_option
def rollback(operator: Operator, **fields: Any) -> None:
    """Publish the bytes of VERSION again under a new version.

    Left out: the version before the one whose bytes act now. So a second rollback goes one further back.
    Candidates that the gate accepts may follow it; `floop hold fleet` prevents that.
    """
    operator.carry_out(Rollback, **fields)
    with contextlib.suppress(FloopError), operator.connect() as client:  # the rollback was carried out
        if not operator.as_json and not client.status().fleet.fixed:
            click.echo("candidates that the gate accepts may follow it; `floop hold fleet` keeps it")


@_fleet_command
@click.argument("scope")
@click.argument("version", callback=version_number)
@wait_option
def pin(operator: Operator, **fields: Any) -> None:
    """Put SCOPE (a robot, or fleet) on VERSION and keep it there until `floop resume`.

    Neither updates nor rollbacks reach what is pinned, not even when the monitor finds its version harmful.
    """
    operator.carry_out(Pin, **fields)


@_fleet_command
@click.argument("scope", default=FLEET)
def hold(operator: Operator, **fields: Any) -> None:
    """Let no update reach SCOPE (a robot; left out: the whole fleet) until `floop resume`.

    Rollbacks still reach it: automatic ones, and those of operators that bring older weights than it has.
    """
    operator.carry_out(Hold, **fields)


@_fleet_command
@click.argument("scope", default=FLEET)
@wait_option
def resume(operator: Operator, **fields: Any) -> None:
    """End hold and pin of SCOPE (a robot; left out: the whole fleet)."""
    operator.carry_out(Resume, **fields)


@_fleet_command
@click.argument("scope")
@click.option("--end", is_flag=True, help="Let it work again.")
@wait_option
def drain(operator: Operator, end: bool, **fields: Any) -> None:
    """Have SCOPE (a robot, or fleet) finish its episode, start no other and hold the arm; with --end, work again."""
    operator.carry_out(Drain, drain=not end, **fields)
