"""`floop health`: are these processes at work, in one exit status."""

from __future__ import annotations

from pathlib import Path

import click

from floop_robot.cli.operator_options import fleet_config
from floop_robot.services.supervision.fleet_description import CONFIG_FILE, Middleware, select_processes
from floop_robot.services.supervision.process_health import process_health


@click.command()
@click.argument("what", nargs=-1)
@click.option("--config", type=click.Path(path_type=Path), default=None,
              help="The fleet's YAML file; left out: of the one that runs here.")  # fmt: skip
@click.option("--within", default=5.0, show_default=True, type=click.FloatRange(0.5),
              help="Oldest figures of a process at work, in seconds.")  # fmt: skip
def health(what: tuple[str, ...], config: Path | None, within: float) -> int:
    """Say whether the processes of WHAT are at work: centre, a robot, or single processes; left out, all.

    Exit status 1 when one of them is not.
    """
    effective = fleet_config(config)
    # With ROS there are all the processes that there may be, under the names that they have without as well.
    specs = select_processes(effective, Path(effective.run_dir) / CONFIG_FILE, Middleware.ROS, what)
    found = [process_health(spec, effective, within) for spec in specs]
    for one in found:
        click.echo(f"{'ok  ' if one.ok else 'FAIL'}  {one.name:<20} {one.detail}")
    return 0 if all(one.ok for one in found) else 1
