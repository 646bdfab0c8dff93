"""`floop health`: checks whether processes of a fleet work."""

from __future__ import annotations

from pathlib import Path

import click

from floop_robot.cli.which_fleet import fleet_config
from floop_robot.services.supervision.fleet_description import CONFIG_FILE, Middleware, select_processes
from floop_robot.services.supervision.process_health import has_simulated_arm, process_health


@click.command()
@click.argument("what", nargs=-1)
@click.option("--config", type=click.Path(path_type=Path), default=None,
              help="The fleet's floop.yaml; left out: the fleet that runs here.")  # fmt: skip
@click.option("--within", default=5.0, show_default=True, type=click.FloatRange(0.5),
              help="A process whose stats file is older than this, in seconds, does not work.")  # fmt: skip
def health(what: tuple[str, ...], config: Path | None, within: float) -> int:
    """Check the processes of WHAT: `centre`, a robot, or single processes; left out: the whole fleet.

    A robot's simulated arm is asked only where it has one.

    Exit status 1 when one of them does not work.
    """
    effective = fleet_config(config)
    # The list with ROS contains every process, and each has the same name without ROS.
    specs = select_processes(effective, Path(effective.run_dir) / CONFIG_FILE, Middleware.ROS, what)
    run_dir = Path(effective.run_dir)
    specs = [s for s in specs if s.part != "sim_robot" or s.name in what or has_simulated_arm(run_dir, s.robot)]
    found = [process_health(spec, effective, within) for spec in specs]
    for one in found:
        click.echo(f"{'ok  ' if one.ok else 'FAIL'}  {one.name:<20} {one.detail}")
    return 0 if all(one.ok for one in found) else 1
