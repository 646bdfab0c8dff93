"""Every benchmark runs on a fresh set-up."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_ROS

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SLOW = (
    "kills", "ros_estop_schedules", "references", "recovery", "shift_recovery", "ppo_loop", "train_matrix",
    "hyperparameters", "hostile_peers", "robot_cpu", "ros_policy", "ros_safety", "ros_push", "gate", "gate_statistics",
    "environment",
)  # fmt: skip
"""Start whole fleets, train, or simulate for long: some 5 to 70 s each."""
BENCHMARKS = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
]
HAS_ROS = importlib.util.find_spec("rclpy") is not None


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    if name.startswith("ros_") and not HAS_ROS:
        pytest.skip(NO_ROS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), "--smoke"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
