"""`floop demo`: the whole loop from one command."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

RECOVERY_FAILED = 3
"""Exit status when the fleet did not learn its way back."""


@click.command()
@click.option("--robots", default=4, show_default=True, type=click.IntRange(1, 16), help="Simulated robots.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 9999), help="Seed of worlds and learner.")
@click.option("--shift", default="new-object", show_default=True, help="How the world shifts; see the list below.")
@click.option("--baseline", type=click.Path(path_type=Path), default=None, help="Start from this bundle instead.")
@click.option("--no-ros", is_flag=True, help="Without ROS 2 (the only way so far; accepted for scripts).")
@click.option("--headless", is_flag=True, help="Lines instead of a live screen.")
@click.option("--seconds", default=170.0, show_default=True, type=click.FloatRange(40), help="Longest live part.")
@click.option("--report", type=click.Path(path_type=Path), default=None, help="Write the report here as well.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def demo(robots: int, seed: int, shift: str, baseline: Path | None, no_ros: bool, headless: bool, seconds: float,
         report: Path | None, as_json: bool) -> int:
    """Run a simulated fleet whose world shifts, and that learns its way back.

    Exit status 3 when it does not. Everything stays in runs/ID/.
    """
    import msgspec
    from rich.console import Console

    from floop_robot.experiment.outcome import finish
    from floop_robot.experiment.report import check_place, save_report
    from floop_robot.experiment.run import Experiment, Plan
    from floop_robot.experiment.screen import LineScreen, LiveScreen, summary

    if report is not None:
        check_place(report)
    run_dir = Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    plan = Plan(run_dir=run_dir, robots=robots, seed=seed, shift=shift, baseline=str(baseline or ""), longest_s=seconds)
    with (LineScreen() if headless or not sys.stderr.isatty() else LiveScreen(seconds)) as screen:
        experiment = Experiment(plan, screen.show)
        found = experiment.run()
    save_report(found, run_dir / "report.json")
    if report is not None:
        save_report(found, report)
    pictures = finish(experiment, found)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        Console().print(summary(found))
        for path in (run_dir / "report.json", *pictures):
            click.echo(f"  {path}")
    return 0 if found.recovered else RECOVERY_FAILED
