"""`floop demo`: runs the whole loop and reports how long the fleet needed to succeed again."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from floop_robot.cli.loading import loading
from floop_robot.cli.which_fleet import RUNS
from floop_robot.spec.errors import StorageError

if TYPE_CHECKING:
    from floop_robot.demo.report import DemoReport

RECOVERY_FAILED = 3
"""Exit status of a run that did not recover."""


class _WithShifts(click.Command):
    """A command that lists the shifts in its help; the simulator is imported only for that."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from floop_envs.shifts import SHIFTS

        with formatter.section("Shifts"):
            formatter.write_dl([(shift.name, shift.meaning) for shift in SHIFTS])


@click.command(cls=_WithShifts)
@click.option("--task", default="floop/Pick-v0", show_default=True, help="Task id of the robots' work.")
@click.option(
    "--algo",
    default=None,
    type=click.Choice(["sac", "ppo"]),
    help="What the fleet learns with; left out: what --baseline was trained with, or ppo.",
)
@click.option("--robots", default=4, show_default=True, type=click.IntRange(1, 16), help="Simulated robots.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 9999), help="Seed of worlds and learner.")
@click.option("--shift", default="new-object", show_default=True, help="How the world shifts; see the list below.")
@click.option("--shift-robots", default="", metavar="NAMES", help="Shift only these robots, such as robot_3,robot_4.")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    default=None,
    help="Bundle to start from, instead of the shipped one.",
)
@click.option("--no-ros", is_flag=True, help="Run without ROS 2, even where it is installed.")
@click.option("--headless", is_flag=True, help="Print lines instead of a live screen.")
@click.option(
    "--seconds",
    default=600.0,
    show_default=True,
    type=click.FloatRange(40),
    help="Longest time that the fleet runs, in seconds; it stops once it has recovered.",
)
@click.option(
    "--episodes",
    default=500,
    show_default=True,
    type=click.IntRange(10),
    help="Most scenarios that measure both policies at the end, in 30 s or less.",
)
@click.option(
    "--require",
    "required",
    default=0.0,
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="For checks: the final policy must also reach this success on shifted tasks, such as 0.95.",
)
@click.option("--report", type=click.Path(path_type=Path), default=None, help="Also write the report to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def demo(
    task: str,
    algo: str | None,
    robots: int,
    seed: int,
    shift: str,
    shift_robots: str,
    baseline: Path | None,
    no_ros: bool,
    headless: bool,
    seconds: float,
    episodes: int,
    required: float,
    report: Path | None,
    as_json: bool,
) -> int:
    """Run a simulated fleet, shift its world, and wait until it succeeds again.

    Everything that the run made stays in runs/ID/. Exit status 0: a version that passed the gate was confirmed by
    live success (80 % are shown, or 60 % where none shows more in time), and known tasks were kept (no loss of more
    than 1 point is shown, 95 % confidence). Exit status 3: it did not recover; the title of the table says why.
    """
    with loading("demo"):
        from floop_robot.demo.pictures import write_pictures
        from floop_robot.demo.report import check_writable, save_report
        from floop_robot.demo.run import DemoPlan, Experiment, algo_of, check_world
        from floop_robot.demo.screen import LineScreen, LiveScreen
        from floop_robot.services.supervision.ports import reserved_base_port
        from floop_robot.sim.sim_world import SimWorld
        from floop_robot.spec.config import FloopConfig

    only = tuple(name.strip() for name in shift_robots.split(",")) if shift_robots else ()
    check_world(task, SimWorld(shift, only), FloopConfig(robots=robots).robot_names)
    algo = algo_of(task, baseline, algo)
    if report is not None:
        check_writable(report)
    with ExitStack() as stack:
        domain, base_port = ros_domain(robots, no_ros, stack), stack.enter_context(reserved_base_port())
        run_dir = _new_run_dir()
        plan = DemoPlan(run_dir=run_dir, task=task, algo=algo, robots=robots, seed=seed, shift=shift,
                    shift_robots=only, baseline=str(baseline or ""),
                    longest_s=seconds, evaluation_scenarios=episodes, required_success=required, base_port=base_port,
                    ros_domain=domain)  # fmt: skip
        with LineScreen() if headless or not sys.stderr.isatty() else LiveScreen(seconds) as screen:
            experiment = Experiment(plan, screen.show)
            found = experiment.run()
    for file in (run_dir / "report.json", *([report] if report else [])):
        save_report(found, file)
    status = 0 if found.recovered else RECOVERY_FAILED
    _show(found, (run_dir / "report.json", *write_pictures(experiment, found)), as_json, status)
    return status


def _show(report: DemoReport, files: tuple[Path, ...], as_json: bool, status: int) -> None:
    import msgspec
    from rich.console import Console

    from floop_robot.demo.screen import last_line, summary

    if as_json:
        click.echo(msgspec.json.encode(report).decode())
        return
    Console().print(summary(report))
    for path in files:
        click.echo(f"  {path}")
    click.echo(last_line(report, status))


def _new_run_dir() -> Path:
    """Make a new folder; a number is added when another run began in the same second."""
    begun = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        path = RUNS / (begun if number == 1 else f"{begun}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; change to a folder you may write to") from None
        return path
    raise AssertionError


def ros_domain(robots: int, no_ros: bool, stack: ExitStack) -> int | None:
    """Reserve a ROS domain for the fleet until `stack` is closed; returns None when it runs without ROS.

    Prints in one line how to look at the fleet's topics, or why it runs without ROS.
    """
    from floop_robot.services.supervision.ros_domain import MAX_ROBOTS, reserved_domain, ros_unavailable_reason

    missing = ros_unavailable_reason()
    if missing:
        missing += " (`make setup-ros` installs it)"
    elif robots > MAX_ROBOTS:
        missing = f"one ROS domain on one machine reaches {MAX_ROBOTS} robots"
    if missing and not no_ros:
        click.echo(f"the fleet runs without ROS: {missing}", err=True)
    if missing or no_ros:
        return None
    domain = stack.enter_context(reserved_domain())
    look = f"ROS_DOMAIN_ID={domain} ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
    here = "" if shutil.which("ros2") else " (of a ROS distribution; there is no ros2 command here)"
    click.echo(f"ROS 2 fleet; to look at it: {look} ros2 topic list{here}", err=True)
    return domain
