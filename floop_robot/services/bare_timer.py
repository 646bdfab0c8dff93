"""A timer that does nothing, with the servo loop's rate and priority: shows how well this machine keeps time."""

from __future__ import annotations

import argparse
from pathlib import Path

from floop_robot.robot.rate_loop import RateLoop
from floop_robot.services.main_loop import read_arguments, run_loop, stop_on_signals
from floop_robot.services.safety import NICE
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.services.supervision.stats_file import StatsFile


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    stop = stop_on_signals()
    _, config = read_arguments(argparse.ArgumentParser(prog="bare_timer", description=__doc__), argv)
    raise_priority(NICE)
    loop = RateLoop(config.robot.servo_rate_hz, lambda _: None, "bare-timer")
    run_loop(loop, stop, StatsFile(Path(config.run_dir), "bare_timer"), loop.stats)
    return 0
