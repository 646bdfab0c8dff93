"""The wheel that setup.py makes: complete, and tied to the ROS it was built against."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.ros.interface_files import SOURCES, paths
from tests.support.ros.skip_reasons import NO_ROS

HAS_ROS = importlib.util.find_spec("rclpy") is not None


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy, so that a build leaves nothing in the checkout and meets no other build."""
    copy = tmp_path / "floop_interfaces"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    return copy


@pytest.mark.skipif(HAS_ROS, reason="ROS is installed here: this is about a machine where it isn't")
def test_without_ros_the_build_says_in_one_line_what_is_missing(sources: Path) -> None:
    done = subprocess.run([sys.executable, "setup.py", "--version"], cwd=sources, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "ros-rclpy" in done.stderr
    assert "make setup-ros" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not HAS_ROS, reason=NO_ROS)
def test_the_wheel_holds_every_interface_and_names_its_ros(sources: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index"]
    done = subprocess.run([*command, "-w", str(tmp_path), str(sources)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    rclpy = importlib.metadata.version("ros-rclpy")
    assert f"+rclpy{rclpy}-cp{sys.version_info.major}{sys.version_info.minor}-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        required = archive.read(metadata).decode()
    assert f"Requires-Dist: ros-rclpy=={rclpy}" in required
    for path in paths():
        assert any(n.endswith(f"share/floop_interfaces/{path.parent.name}/{path.name}") for n in names), path.name
    libraries = {Path(n).name for n in names if "/data/lib/" in n and n.endswith(".so")}
    for part in ("rosidl_generator_c", "rosidl_generator_py", "rosidl_typesupport_c", "rosidl_typesupport_fastrtps_c"):
        assert f"libfloop_interfaces__{part}.so" in libraries
    assert any(n.endswith("resource_index/packages/floop_interfaces") for n in names)
    assert not [n for n in names if "cmake-rclpy" in n]
