"""`floop check`: reads a description as every process does, and names each field that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import msgspec

from floop_robot.cli import check_summary
from floop_robot.cli.zip_options import zip_options
from floop_robot.robot.operators import OperatorTokens
from floop_robot.spec.config import load_config, read_config
from floop_robot.spec.driver_config import driver_file, load_driver, read_driver
from floop_robot.spec.errors import FloopError
from floop_robot.spec.faults import Fault, WrongFields
from floop_robot.spec.robot_model import RobotModel, load_robot, read_robot, robot_file

USER_ERROR: Final = 2

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


class CheckResult(msgspec.Struct, frozen=True):
    """What was found in a file."""

    file: str
    ok: bool
    faults: tuple[Fault, ...] = ()
    """One line for each wrong field."""
    notes: tuple[str, ...] = ()
    """What the file means, and what is assumed where it says nothing."""


@click.group()
def check() -> None:
    """Check a description before anything starts.

    Exit status 0, or 2 and one line for each wrong field. Every process reads its files in the same way.
    """


@check.command()
@click.argument("file")
@as_json
def robot(file: str, as_json: bool) -> int:
    """Check a robot model: FILE is a YAML file, or the name of a shipped model."""

    def faults() -> tuple[Fault, ...]:
        return read_robot(robot_file(file)).faults

    return _report(file, faults, lambda: check_summary.of_robot(load_robot(file)), as_json)


@check.command()
@click.argument("file")
@click.option("--robot", "arm", default="", metavar="NAME", help="Robot model to go with it: a name, or a YAML file. "
              "Left out, what depends on the arm is not checked.")  # fmt: skip
@as_json
def driver(file: str, arm: str, as_json: bool) -> int:
    """Check a driver description: FILE is a YAML file, or the name of a shipped one."""
    model: RobotModel | None = None

    def faults() -> tuple[Fault, ...]:
        nonlocal model
        model = load_robot(arm) if arm else None
        return read_driver(driver_file(file), model).faults

    return _report(file, faults, lambda: check_summary.of_driver(load_driver(file, model), model), as_json)


@check.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def config(file: Path, as_json: bool) -> int:
    """Check a fleet's configuration, and the robot model that it names."""

    def faults() -> tuple[Fault, ...]:
        fields = read_config(file)
        model, operators = fields.get("robot.model"), fields.get("operators")
        of_model = _faults_of(lambda: read_robot(robot_file(model)).faults) if model is not None else ()
        of_tokens = _faults_of(lambda: _tokens(Path(operators))) if operators else ()
        return (*fields.faults, *of_model, *of_tokens)

    return _report(str(file), faults, lambda: check_summary.of_config(load_config(file)), as_json)


@check.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--task", default="", metavar="ID", help="Task to compare it with; left out, a bundle's own, or "
              "floop/Pick-v0 for a zip.")  # fmt: skip
@click.option("--robot", default="panda", show_default=True, metavar="NAME", help="Robot model to compare it with.")
@zip_options
@as_json
def bundle(file: Path, task: str, robot: str, trust: bool, vecnormalize: Path | None, as_json: bool) -> int:
    """Check a policy: FILE is a bundle (.floop), or with --trust a stable-baselines3 zip.

    Its stored observations are answered again, as a robot does before it acts on a bundle.
    """
    from floop_robot.cli.check_bundle import PolicyFile

    notes: list[str] = []

    def faults() -> tuple[Fault, ...]:
        policy = PolicyFile(path=file, task=task, robot=robot, trust=trust, vecnormalize=vecnormalize)
        notes.extend(policy.check())
        return ()

    return _report(str(file), faults, lambda: notes, as_json)


@check.command()
@click.argument("env_id", metavar="ID")
@as_json
def env(env_id: str, as_json: bool) -> int:
    """Check a Gymnasium environment for `floop train --env`: ID is `Id-v0`, `module:Id-v0` or `file.py:Id-v0`.

    One line for each property. Exit status 2 and the reason when it can't be trained.
    """
    from floop_robot.train.environments.env_check import check_env

    lines: list[str] = []

    def faults() -> tuple[Fault, ...]:
        lines.extend(check_env(env_id))
        return ()

    return _report(env_id, faults, lambda: lines, as_json)


def _report(file: str, find: Callable[[], tuple[Fault, ...]], notes: Callable[[], list[str]], as_json: bool) -> int:
    """Print what `find` finds, or else `notes`; returns the exit status."""
    faults = _faults_of(find)
    result = CheckResult(file, not faults, faults, () if faults else tuple(notes()))
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    for fault in () if as_json else faults:
        click.echo(f"floop: {fault.line}", err=True)
    for line in () if as_json else result.notes:
        click.echo(line)
    return 0 if result.ok else USER_ERROR


def _tokens(file: Path) -> tuple[Fault, ...]:
    OperatorTokens(file)  # raises for what is wrong
    return ()


def _faults_of(find: Callable[[], tuple[Fault, ...]]) -> tuple[Fault, ...]:
    try:
        return find()
    except WrongFields as error:
        return error.faults
    except FloopError as error:
        return (Fault("", str(error)),)
