"""A timer that does nothing, at servo rate and with the servo loop's priority: what this machine can keep at all."""

from __future__ import annotations

import argparse
from pathlib import Path

from floop_robot.processes.driving import drive, prefer, stop_on_signals
from floop_robot.processes.safety import NICE
from floop_robot.processes.stats import StatsFile
from floop_robot.robot.rate import RateLoop
from floop_robot.spec.config import load_config


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    stop = stop_on_signals()
    parser = argparse.ArgumentParser(prog="bare_timer", description=__doc__)
    parser.add_argument("--config", type=Path, help="YAML file; defaults otherwise")
    config = load_config(parser.parse_args(argv).config)
    prefer(NICE)
    loop = RateLoop(config.robot.servo_rate_hz, lambda _: None, "bare-timer")
    drive(loop, stop, StatsFile(Path(config.run_dir), "bare_timer"), loop.stats)
    return 0
