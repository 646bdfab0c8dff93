"""A timer that does nothing, at servo rate and with the servo loop's priority: what this machine can keep at all."""

from __future__ import annotations

import argparse
from pathlib import Path

from floop_robot.processes.driving import drive, read_arguments, stop_on_signals
from floop_robot.processes.priority import prefer
from floop_robot.processes.safety import NICE
from floop_robot.processes.stats import StatsFile
from floop_robot.robot.rate import RateLoop


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    stop = stop_on_signals()
    _, config = read_arguments(argparse.ArgumentParser(prog="bare_timer", description=__doc__), argv)
    prefer(NICE)
    loop = RateLoop(config.robot.servo_rate_hz, lambda _: None, "bare-timer")
    drive(loop, stop, StatsFile(Path(config.run_dir), "bare_timer"), loop.stats)
    return 0
