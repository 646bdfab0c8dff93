"""`floop up`: starts a fleet from its configuration and keeps it running."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import click

from floop_robot.cli.start_progress import StartProgress
from floop_robot.durable.locks import is_running
from floop_robot.services.fleet_manager import registry_path
from floop_robot.services.main_loop import stop_on_signals
from floop_robot.services.supervision.fleet_description import (
    CENTRE,
    CONFIG_FILE,
    ArmOptions,
    Middleware,
    missing_safeguards,
    select_processes,
    write_config,
)
from floop_robot.services.supervision.preflight import check_start
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.ros_domain import (
    check_robots,
    local_only_environment,
    reach_in_words,
    ros_unavailable_reason,
)
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.local_time import local_time

USER_ERROR = 2
_POLL_S = 0.2


@click.command()
@click.option("--config", type=click.Path(path_type=Path), default=None,
              help="The fleet's floop.yaml; left out: the defaults.")  # fmt: skip
@click.option("--only", multiple=True, metavar="WHAT",
              help=f"Start only this part: `{CENTRE}`, a robot, or a process. May be repeated.")  # fmt: skip
@click.option("--shift", default=None, help="Shift the simulated robots' world in this way (`floop demo --help` lists "
              "them); an empty text ends the shift.")  # fmt: skip
@click.option("--no-sim", is_flag=True, help="Start no simulated arms: the robots' ROS drivers run elsewhere.")
@click.option("--no-cell", is_flag=True, help="Start no cell nodes: your own nodes reset the work cells.")
@click.option("--params-file", default="", help="YAML file with ROS parameters of the robots' nodes.")
@click.option("--driver", default="", help="Description of the drivers: a name in config/drivers, or a file.")
@click.option("--no-ros", is_flag=True, help="Run without ROS 2, even where it is installed.")
def up(config: Path | None, only: tuple[str, ...], shift: str | None, no_sim: bool, no_cell: bool, params_file: str,
       driver: str, no_ros: bool) -> int:  # fmt: skip
    """Start a fleet and keep it running until Ctrl-C; processes that crash are reported and started again.

    Exit status 2 when a process cannot work as configured.
    """
    effective = load_config(config)
    if shift:
        _check_shift(shift)
    missing = "--no-ros is set" if no_ros else ros_unavailable_reason()
    arms = ArmOptions(simulated=not no_sim, driver=driver, cell=not no_cell, params_file=params_file)
    if missing and (no_sim or driver or params_file):
        raise ConfigError(f"--no-sim, --driver and --params-file need ROS, but {missing}; {_ros_cure(no_ros)}")
    middleware = Middleware.ZMQ if missing else Middleware.ROS
    for line in _check_parameters(Path(params_file), effective) if params_file else ():
        click.echo(f"floop up: {line}", err=True)
    if missing and not no_ros:
        click.echo(f"floop up: the fleet runs without ROS: {missing} ({_ros_cure(no_ros)})", err=True)
    if middleware is Middleware.ROS and not no_sim:
        check_robots(effective.robots)
    for line in missing_safeguards(effective) if no_sim else ():
        click.echo(f"floop up: {line}", err=True)
    file = Path(effective.run_dir) / CONFIG_FILE
    specs = select_processes(effective, file, middleware, only, arms)  # raises here, before anything is written
    is_new = not registry_path(effective).exists()
    check_start(effective, specs, driver)
    joins = is_running(Path(effective.run_dir))
    write_config(effective)
    if not is_new and not joins:
        click.echo(
            f"floop up: continuing the fleet of {effective.run_dir}; for a new one, set another run_dir", err=True
        )
    return keep_up(
        effective, specs, local_only_environment() if middleware is Middleware.ROS and not no_sim else {}, shift
    )


def keep_up(
    config: FloopConfig, specs: list[ProcessSpec], environment: Mapping[str, str], shift: str | None = None
) -> int:
    """Supervise until a signal, or until a process stops for good; returns the exit status."""
    stop = stop_on_signals()
    run_dir = Path(config.run_dir)
    with Supervisor(specs, run_dir, environment, config.storage.log_mb * 1e6) as fleet:
        if shift is not None:
            _shift(run_dir, shift)  # only now: the supervisor has made sure that no other fleet runs here
        count = f"{len(specs)} processes" if len(specs) > 1 else specs[0].name
        has_ros = any(spec.node for spec in specs)
        how = f"over ROS 2 ({reach_in_words(os.environ | environment)})" if has_ros else "without ROS"
        click.echo(f"{count} {how}; logs in {run_dir / 'logs'}; Ctrl-C stops them", err=True)
        status = _watch(fleet, stop, StartProgress(specs, config))
        click.echo("stopping", err=True)
    return status


def _watch(fleet: Supervisor, stop: threading.Event, start: StartProgress) -> int:
    reported = 0
    while not stop.wait(_POLL_S):
        start.show()
        for restart in fleet.restarts[reported:]:
            reported += 1
            click.echo(
                f"{local_time(restart.stamp_ns)}  {restart.name} ended with exit status {restart.exit_status} "
                f"and was started again after {restart.down_s:.1f} s; see {fleet.log(restart.name)}",
                err=True,
            )
        for name, line in fleet.given_up.items():
            click.echo(f"floop: {name} stopped for good: {line}", err=True)
        if fleet.given_up:
            return USER_ERROR
    return 0


def _check_parameters(path: Path, config: FloopConfig) -> list[str]:
    """Returns what a person should know of a file of ROS parameters; raises `FloopError` for a wrong one."""
    from floop_robot.ros.node.node_parameters import fleet_nodes  # there may be no ROS
    from floop_robot.ros.node.parameter_file import check_parameter_file

    return check_parameter_file(path, fleet_nodes(config.robot_names))


def _ros_cure(no_ros: bool) -> str:
    return "leave out --no-ros" if no_ros else "run `make setup-ros`, or source your ROS distribution"


def _check_shift(name: str) -> None:
    from floop_envs.shifts import get_shift

    get_shift(name)


def _shift(run_dir: Path, name: str) -> None:
    from floop_robot.sim.sim_world import SimWorld, set_world

    set_world(run_dir, SimWorld(name or None))
