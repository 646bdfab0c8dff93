"""What robots of this host write of themselves, which the fleet manager does not hear."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import msgspec

from floop_robot.services.policy import RobotStats
from floop_robot.services.safety import SafetyStats
from floop_robot.services.supervision.stats_file import read_newest_stats, read_thread_restarts, stats_age_s

FRESH_S: Final = 5.0
"""Older figures are those of a process that has ended."""

T = TypeVar("T", bound=msgspec.Struct)


def robot_notes(run_dir: Path, robot: str) -> list[str]:
    """A line for each thing that a person should know of a robot; none for a robot of another host."""
    notes = []
    if (safety := _newest(run_dir, f"{robot}.safety", SafetyStats)) is not None:
        if safety.fault:
            notes.append(safety.fault)
        if safety.state_faults:
            notes.append(f"{safety.state_faults} robot states were unusable since safety started")
    robot_stats = _newest(run_dir, f"{robot}.policy", RobotStats)
    if robot_stats is not None and robot_stats.policy.judges_by_width:
        notes.append("grasps are judged by width and perceived lift: the gripper reports no effort")
    for process in (f"{robot}.safety", f"{robot}.policy"):
        notes += [
            f"{name} ended unexpectedly {count} times and was started again; see logs/{process}.log"
            for name, count in read_thread_restarts(run_dir, process).items()
        ]
    return notes


def _newest(run_dir: Path, process: str, kind: type[T]) -> T | None:
    age_s = stats_age_s(run_dir, process)
    return read_newest_stats(run_dir, process, kind) if age_s is not None and age_s <= FRESH_S else None
