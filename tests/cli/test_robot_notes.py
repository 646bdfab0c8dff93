"""What `floop status` adds from the stats files of robots on this host."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec.structs import replace

from floop_envs.expert import Expert
from floop_robot.cli.robot_notes import FRESH_S, robot_notes
from floop_robot.robot.loop_interface import LoopInterface
from floop_robot.robot.messages import Interventions
from floop_robot.robot.rate_loop import RateStats, Timing
from floop_robot.services.policy import PolicyProcess, RobotStats
from floop_robot.services.safety import SafetyStats
from floop_robot.services.supervision.stats_file import StatsFile
from tests.support.still_arm import StillArm, arguments

TIMING = Timing(count=1, p50_s=0.001, p99_s=0.002, max_s=0.003)
RATE = RateStats(ticks=1, missed_ticks=0, lateness=TIMING, busy=TIMING)


def test_a_fault_and_unusable_states_are_shown_until_their_process_has_ended(tmp_path: Path) -> None:
    assert robot_notes(tmp_path, "robot_1") == []
    file = StatsFile[SafetyStats](tmp_path, "robot_1.safety")
    file.write(SafetyStats(RATE, Interventions(), ""), force=True)
    assert robot_notes(tmp_path, "robot_1") == []
    file.write(SafetyStats(RATE, Interventions(), "robot state unusable", True, 7), force=True)
    assert robot_notes(tmp_path, "robot_1") == [
        "robot state unusable",
        "7 robot states were unusable since safety started",
    ]
    for path in (tmp_path / "stats").iterdir():
        os.utime(path, (path.stat().st_mtime - FRESH_S - 1,) * 2)
    assert robot_notes(tmp_path, "robot_1") == []
    for path in (tmp_path / "stats").iterdir():
        path.write_bytes(b"of another release")
    assert robot_notes(tmp_path, "robot_1") == []


def test_a_gripper_without_effort_is_named(tmp_path: Path) -> None:
    process = PolicyProcess(arguments(tmp_path / "robot"))
    try:
        process.policy_buffer.offer(1, Expert(process.rules.spec))
        process.start(StillArm().link, LoopInterface(False))
        figures = process.current_stats()
        process.stop()
    finally:
        process.close(0.0)
    assert figures is not None
    file = StatsFile[RobotStats](tmp_path, "robot_1.policy")
    file.write(replace(figures, policy=replace(figures.policy, judges_by_width=True)), force=True)
    assert robot_notes(tmp_path, "robot_1") == [
        "grasps are judged by width and perceived lift: the gripper reports no effort"
    ]
