"""The two pictures that a demo leaves: success over time, and a clip of shipped and final policy."""

from __future__ import annotations

from pathlib import Path

from floop_robot.bundle import Bundle
from floop_robot.demo.plots import clip_run, plot_run
from floop_robot.demo.report import DemoReport
from floop_robot.demo.run import Experiment
from floop_robot.deploy.registry import read_history
from floop_robot.services.fleet_manager import registry_path


def write_pictures(experiment: Experiment, report: DemoReport) -> tuple[Path, Path]:
    """Write `timeline.png` and `before_after.gif` into the run directory; returns their paths."""
    config, folder = experiment.config, experiment.plan.run_dir
    plot, clip = folder / "timeline.png", folder / "before_after.gif"
    plot_run(read_history(registry_path(config)), report, experiment.shift, plot)
    shipped, final = (Bundle.load(Path(report.bundles[name])) for name in ("shipped", "final"))
    clip_run(config, experiment.plan.world, shipped, final, clip)
    return plot, clip
