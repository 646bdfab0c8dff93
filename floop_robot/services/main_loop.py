"""What the processes have in common: arguments, signals, and a fixed-rate loop that writes a stats file."""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from floop_robot.robot.rate_loop import RateLoop
from floop_robot.services.supervision.stats_file import WRITE_INTERVAL_S, StatsFile
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.spec.errors import UnknownName

SHUTDOWN_TICKS_S = 0.25
"""Enough for two policy steps."""


class RobotArguments(msgspec.Struct, frozen=True):
    """Which robot of which fleet a process serves."""

    config: FloopConfig
    robot: str

    @property
    def run_dir(self) -> Path:
        """Where the fleet's files are."""
        return Path(self.config.run_dir)

    @property
    def index(self) -> int:
        """Position of the robot in the fleet, counted from 0."""
        return self.config.robot_names.index(self.robot)


def read_arguments(parser: argparse.ArgumentParser, argv: list[str] | None) -> tuple[argparse.Namespace, FloopConfig]:
    """Read `--config` and the other arguments of `parser`, and log to stderr from now on; raises `ConfigError`."""
    parser.add_argument("--config", type=Path, help="the fleet's YAML file; left out: defaults")
    found = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    return found, load_config(found.config)


def parse(program: str, description: str, argv: list[str] | None) -> RobotArguments:
    """Read `--config` and `--robot`; raises `ConfigError` or `UnknownName` in one line."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--robot", default="robot_1", help="name of the robot")
    found, config = read_arguments(parser, argv)
    if found.robot not in config.robot_names:
        raise UnknownName("robot", found.robot, config.robot_names, str(found.config))
    return RobotArguments(config, found.robot)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        # Not here: this thread may just hold the event's lock, in `wait`, and would wait for itself for ever.
        threading.Thread(target=stop.set, name="stop", daemon=True).start()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, on_signal)
    return stop


def freeze_objects() -> None:
    """Exclude what start-up made from garbage collection: collections in a control loop then take less than 0.1 ms."""
    gc.collect()
    gc.freeze()


def run_loop(
    loop: RateLoop, stop: threading.Event, stats: StatsFile[Any], current_stats: Callable[[], msgspec.Struct]
) -> None:
    """Run the loop until `stop` and write its stats meanwhile; raises what the loop raised, and sets `stop` then."""
    freeze_objects()
    loop.on_failure = stop.set
    with loop:
        while not stop.wait(WRITE_INTERVAL_S):
            stats.write(current_stats())
    stats.write(current_stats(), force=True)
    loop.join()
