"""Robot models: shipped ones by name, your own by path."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from floop_robot.robot.kinematics import Kinematics
from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.ids import limits_id
from floop_robot.spec.robot_model import load_robot, robots_dir


def test_a_model_of_ones_own_is_read_from_its_file_with_the_urdf_beside_it(tmp_path: Path) -> None:
    for ending in ("yaml", "urdf"):
        shutil.copy(robots_dir() / f"ur5e.{ending}", tmp_path)
    shipped, own = load_robot("ur5e"), load_robot(str(tmp_path / "ur5e.yaml"))
    assert own.urdf_path == tmp_path / "ur5e.urdf"
    assert limits_id(own) == limits_id(shipped), "where a file lies changes nothing that data and policies depend on"
    assert Kinematics(own).position(own.home_rad) == pytest.approx(Kinematics(shipped).position(shipped.home_rad))


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'ur5e'"):
        load_robot("ur5")
    with pytest.raises(UnknownName, match="unknown robot 'nowhere'; known: panda, ur10e, ur5e, xarm6, xarm7"):
        load_robot("nowhere")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml is no file; give the path of yours, or one of panda, ur10e"):
        load_robot(str(tmp_path / "nowhere.yaml"))
    shutil.copy(robots_dir() / "ur5e.yaml", tmp_path)
    with pytest.raises(ConfigError, match=r"ur5e\.urdf"):
        load_robot(str(tmp_path / "ur5e.yaml"))
