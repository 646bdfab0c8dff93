"""`floop push`: give a policy to a running fleet."""

from __future__ import annotations

from pathlib import Path

import click

from floop_robot.bundle import Bundle
from floop_robot.cli.operator_options import Operator, command_options, number_of, show_published, wait_option
from floop_robot.deploy.registry import FLEET

ZIP_SUFFIX = ".zip"


@click.command()
@click.argument("policy")
@click.option("--robot", default="", help="Put it on this robot alone, which is then pinned to it.")
@click.option("--trust", is_flag=True, help="Read a stable-baselines3 zip; it may run any code.")
@wait_option
@command_options
def push(policy: str, robot: str, trust: bool, wait_s: float, operator: Operator) -> None:
    """Publish POLICY to the fleet under a new version, whatever the gate thinks of it.

    POLICY is a bundle (.floop), a version of this fleet (v12), or with --trust a stable-baselines3 zip.
    """
    scope, number = robot or FLEET, number_of(policy)
    version = 0 if number is None or Path(policy).exists() else number
    bundle = None if version else _load(Path(policy), trust, operator)
    with operator.connect() as client:
        if bundle is None:
            done = client.push_version(version, operator.why, scope)
        else:
            done = client.push(bundle, operator.why, scope)
        show_published(operator, client, done, scope, wait_s)


def _load(path: Path, trust: bool, operator: Operator) -> Bundle:
    if path.suffix != ZIP_SUFFIX:
        return Bundle.load(path)
    from floop_robot.services.import_zip import bundle_of_zip

    return bundle_of_zip(path, operator.fleet, trust=trust)
