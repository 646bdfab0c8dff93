"""What processes have in common: which robot they serve, and a loop that leaves its figures."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import msgspec
import pytest

from floop_robot.robot.rate_loop import RateLoop, RateStats
from floop_robot.services.main_loop import RobotArguments, parse, run_loop, stop_on_signals
from floop_robot.services.supervision.stats_file import StatsFile, read_stats
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import ConfigError, UnknownName


def test_a_process_knows_its_robot_and_where_its_files_are(tmp_path: Path) -> None:
    file = tmp_path / "floop.yaml"
    file.write_bytes(msgspec.yaml.encode(FloopConfig(robots=3, run_dir="runs/x")))
    found = parse("safety", "", ["--config", str(file), "--robot", "robot_3"])
    assert (found.robot, found.index, found.run_dir) == ("robot_3", 2, Path("runs/x"))
    assert parse("safety", "", []) == RobotArguments(FloopConfig(), "robot_1")


def test_a_wrong_robot_or_configuration_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'robot_1'"):
        parse("safety", "", ["--robot", "robt_1"])
    (tmp_path / "bad.yaml").write_text("robots: many")
    with pytest.raises(ConfigError, match="robots: expected a whole number, got a text"):
        parse("safety", "", ["--config", str(tmp_path / "bad.yaml")])


def test_a_loop_runs_until_it_is_stopped_and_leaves_its_last_figures(tmp_path: Path) -> None:
    stop = threading.Event()
    ticks: list[float] = []

    def tick(now_s: float) -> None:
        ticks.append(now_s)
        if len(ticks) == 20:
            stop.set()

    loop = RateLoop(200.0, tick, "test")
    run_loop(loop, stop, StatsFile(tmp_path, "test"), loop.stats)
    [stats] = read_stats(tmp_path, "test", RateStats)
    assert 20 <= stats.ticks == len(ticks)


def test_what_a_tick_raises_ends_the_process_after_its_figures_are_written(tmp_path: Path) -> None:
    def tick(_: float) -> None:
        raise ConfigError("the arm has no name; give it one")

    loop = RateLoop(200.0, tick, "test")
    with pytest.raises(ConfigError, match="the arm has no name"):
        run_loop(loop, threading.Event(), StatsFile(tmp_path, "test"), loop.stats)
    assert len(read_stats(tmp_path, "test", RateStats)) == 1


def test_a_signal_that_comes_while_the_process_begins_to_wait_ends_it() -> None:
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop = stop_on_signals()
        with stop._cond:  # as `wait` holds it for an instant
            signal.raise_signal(signal.SIGTERM)
        assert stop.wait(10.0)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
