"""`floop check`: status 0 and what a file means, or status 2 and one line for each wrong field."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from floop_robot.spec.robot_model import robots_dir
from tests.support.cli_in_process import Floop


@pytest.fixture
def arm(tmp_path: Path) -> Path:
    """A robot model of one's own, which is right."""
    for ending in ("yaml", "urdf"):
        shutil.copy(robots_dir() / f"ur5e.{ending}", tmp_path)
    return tmp_path / "ur5e.yaml"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("robot panda", "7 joints from panda_link0 to panda_grasptarget"),
        ("robot ur5e.yaml", "straight down; its x points forward; the fingers open along its y, which points right"),
        ("robot ur5e.yaml", "fastest joint: 160 degrees per second, 178 degrees per s²"),
        ("robot ur5e.yaml", "in the simulator, the URDF gives no mass of shoulder_link (1 kg)"),
        ("robot ur5e.yaml", "note: robot ur5e cannot be simulated: its URDF lacks robotiq_85_left_knuckle_joint; add"),
        ("config fleet.yaml", "note: robot ur5e cannot be simulated: its URDF lacks robotiq_85_left_knuckle_joint"),
        ("driver franka", "not compared with an arm (give --robot NAME)"),
        ("driver ur --robot ur5e.yaml", "it tells no force, so grasps are judged without"),
        ("config fleet.yaml", "right: 2 robots (ur5e) at floop/Pick-v0"),
    ],
)
def test_what_is_right_is_told_in_a_few_lines(words: str, says: str, arm: Path, floop: Floop, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("robots: 2\nrobot: {model: ur5e.yaml}\n")
    found = floop("check", *words.split())
    assert found.status == 0
    assert says in found.out


def test_every_wrong_field_is_a_line(arm: Path, floop: Floop, tmp_path: Path) -> None:
    text = arm.read_text()
    arm.write_text(text.replace("max_force_n: 235.0", "max_force_n: -1").replace("tip_link: tcp", "tip_link: tpc"))
    found = floop("check", "robot", "ur5e.yaml")
    assert found.status == 2
    lines = found.err.splitlines()
    assert len(lines) == 2
    assert "ur5e.yaml: tip_link: 'tpc' is no link of" in lines[1] + lines[0]
    assert "ur5e.yaml: gripper.max_force_n: -1 must be above 0" in lines[0] + lines[1]
    (tmp_path / "fleet.yaml").write_text("robots: none\nrobot: {model: ur5e.yaml}\noperators: no.yaml\n")
    found = floop("check", "config", "fleet.yaml", "--json")
    result = json.loads(found.out)
    assert found.status == 2 and not result["ok"] and not result["notes"]
    assert [fault["field"] for fault in result["faults"]] == ["robots", "gripper.max_force_n", "tip_link", ""]
    assert "no.yaml" in result["faults"][-1]["line"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("robot ur5", "did you mean 'ur5e'?"),
        ("robot none.yaml", "none.yaml is no file"),
        ("driver urr", "did you mean 'ur'?"),
        ("driver ur --robot panda", ""),
        ("driver franka --robot ur5e", "names 7 joints, but ur5e has 6"),
        ("config none.yaml", "cannot read none.yaml"),
        ("driver none.yaml", "driver description none.yaml is no file; give the path of yours"),
        ("robot ./arm.urdf.xacro", "robot model ./arm.urdf.xacro is no YAML file"),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_one_line(words: str, says: str, floop: Floop) -> None:
    found = floop("check", *words.split())
    assert (found.status, says in found.err) == (2 if says else 0, True)
