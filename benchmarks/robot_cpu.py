"""Processor time of the robots' processes: simulated robots at work, with and without ROS.

    python benchmarks/robot_cpu.py [--robots 4] [--seconds 20] [--middleware ros|zmq|both] [--json FILE]

A fleet runs as `floop up` starts it, without gate, learner and explorers. Once every robot has ended an episode, the
processor time (user and system, all threads) that each process takes in `--seconds` is read from /proc/PID/stat.
Shares are percent of one core, of all robots together. The rows beside them show that the work was the same: servo
ticks, missed ticks, policy steps and episodes a second and robot.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from floop_robot.services.policy import RobotStats
from floop_robot.services.safety import SafetyStats
from floop_robot.services.supervision.fleet_description import (
    Middleware,
    central_processes,
    robot_processes,
    write_config,
)
from floop_robot.services.supervision.ports import reserved_base_port
from floop_robot.services.supervision.ros_domain import local_environment, reserved_domain, ros_unavailable_reason
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import Endpoints, FloopConfig

PARTS = ("sim_robot", "safety", "policy")
START_TIMEOUT_S = 90.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of all robots together, at one moment."""

    at_s: float
    cpu_s: dict[str, float]
    """Processor time by kind of process."""
    servo_ticks: int
    missed_ticks: int
    steps: int
    episodes: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    middleware: str
    robots: int
    seconds: float
    percent: dict[str, float]
    """Of one core, by kind of process, all robots together."""
    total_percent: float
    servo_hz: float
    """Servo ticks a second and robot."""
    missed_ticks: int
    steps_hz: float
    """Policy steps a second and robot."""
    episodes: int


def cpu_s(pid: int) -> float:
    """User and system time of a process and its threads, s."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read(config: FloopConfig, fleet: Supervisor) -> Reading:
    """The counts now. Figures of the loops are up to 0.5 s old, at both ends of a run alike."""
    run_dir = Path(config.run_dir)
    used = dict.fromkeys(PARTS, 0.0)
    ticks = missed = steps = episodes = 0
    for robot in config.robot_names:
        for part in PARTS:
            pid = fleet.pid(f"{robot}.{part}")
            used[part] += cpu_s(pid) if pid else 0.0
        for safety in read_stats(run_dir, f"{robot}.safety", SafetyStats):
            ticks, missed = ticks + safety.rate.ticks, missed + safety.rate.missed_ticks
        for policy in read_stats(run_dir, f"{robot}.policy", RobotStats):
            steps, episodes = steps + policy.rate.ticks, episodes + policy.policy.episodes
    return Reading(
        at_s=time.monotonic(), cpu_s=used, servo_ticks=ticks, missed_ticks=missed, steps=steps, episodes=episodes
    )


def measure(middleware: Middleware, robots: int, seconds: float) -> Result:
    """Run a fleet and measure it."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = stack.enter_context(reserved_base_port())
        ros = middleware is Middleware.ROS
        environment = local_environment(stack.enter_context(reserved_domain())) if ros else {}
        config = FloopConfig(robots=robots, run_dir=f"{folder}/run", endpoints=Endpoints(base_port=port))
        file = write_config(config)
        central = [s for s in central_processes(config, file, middleware) if s.part in ("ingest", "fleet_manager")]
        own = [spec for robot in config.robot_names for spec in robot_processes(file, robot, middleware)]
        fleet = stack.enter_context(Supervisor([*central, *own], Path(config.run_dir), environment))
        wait_for_work(config, fleet)
        first = read(config, fleet)
        time.sleep(seconds)
        return result(middleware, robots, first, read(config, fleet))


def wait_for_work(config: FloopConfig, fleet: Supervisor) -> None:
    """Wait until every robot has ended an episode."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        found = [read_stats(Path(config.run_dir), f"{robot}.policy", RobotStats) for robot in config.robot_names]
        if all(stats and stats[-1].policy.episodes for stats in found):
            return
        if time.monotonic() > deadline_s or fleet.given_up:
            raise SystemExit(f"the robots did not work within {START_TIMEOUT_S:g} s: {fleet.given_up or 'too slow'}")
        time.sleep(0.2)


def result(middleware: Middleware, robots: int, first: Reading, last: Reading) -> Result:
    """What happened between two readings."""
    span_s = last.at_s - first.at_s
    percent = {part: round(100.0 * (last.cpu_s[part] - first.cpu_s[part]) / span_s, 1) for part in PARTS}
    each = span_s * robots
    return Result(
        middleware=middleware.value,
        robots=robots,
        seconds=round(span_s, 1),
        percent=percent,
        total_percent=round(sum(percent.values()), 1),
        servo_hz=round((last.servo_ticks - first.servo_ticks) / each, 1),
        missed_ticks=last.missed_ticks - first.missed_ticks,
        steps_hz=round((last.steps - first.steps) / each, 1),
        episodes=last.episodes - first.episodes,
    )


def line(found: Result) -> str:
    """A row of the table."""
    shares = "".join(f"{found.percent[part]:>10.1f}" for part in PARTS)
    return (
        f"{found.middleware:<6}{found.robots:>6}{shares}{found.total_percent:>8.1f}"
        f"{found.servo_hz:>10.1f}{found.missed_ticks:>8}{found.steps_hz:>9.1f}{found.episodes:>10}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robots", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--middleware", choices=("ros", "zmq", "both"), default="both")
    parser.add_argument("--json", type=Path, default=None, help="append one JSON object per run to this file")
    parser.add_argument("--smoke", action="store_true", help="one robot for a second, to see that it runs")
    found = parser.parse_args()
    if found.smoke:
        found.robots, found.seconds = 1, 1.0
    chosen = list(Middleware) if found.middleware == "both" else [Middleware(found.middleware)]
    if reason := ros_unavailable_reason():
        print(f"without ROS only: {reason}", file=sys.stderr)
        chosen = [Middleware.ZMQ]
    print("percent of a core, all robots together; servo ticks and policy steps a second and robot")
    print(f"{'':<6}{'robots':>6}{''.join(f'{part:>10}' for part in PARTS)}{'total':>8}"
          f"{'servo/s':>10}{'missed':>8}{'steps/s':>9}{'episodes':>10}")  # fmt: skip
    for middleware in chosen:
        run = measure(middleware, found.robots, found.seconds)
        print(line(run), flush=True)
        if found.json:
            with found.json.open("ab") as file:
                file.write(msgspec.json.encode(run) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
