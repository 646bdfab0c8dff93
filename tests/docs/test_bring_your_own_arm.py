"""The files and the program in docs/bring_your_own_arm.md: each is accepted by the code that reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from floop_robot.robot.operators import OperatorTokens
from floop_robot.spec.config import load_config
from floop_robot.spec.driver_config import AssumedObject, DriverConfig, load_driver
from floop_robot.spec.robot_model import load_robot, robots_dir
from floop_robot.spec.yaml_file import convert

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "bring_your_own_arm.md").read_text()


def block(language: str, word: str) -> str:
    """The block of code in `language` that has `word` in it."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", TEXT, re.S) if word in text]
    return found


@pytest.mark.parametrize("arm", ["ur5e", "ur10e", "panda", "xarm6", "xarm7"])
def test_the_program_shows_that_a_model_s_home_and_work_are_reached(arm: str, tmp_path: Path) -> None:
    shutil.copy(robots_dir() / f"{arm}.yaml", tmp_path / "my_arm.yaml")
    shutil.copy(robots_dir() / f"{arm}.urdf", tmp_path)
    program = block("sh", "load_robot").partition("<<'EOF'\n")[2].partition("EOF")[0]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    home, *corners = done.stdout.splitlines()
    assert home.startswith("TCP at home (m): (0.4")
    assert len(corners) == 8 and all(line.endswith("reached") for line in corners), corners


def test_the_driver_s_description_is_read(tmp_path: Path) -> None:
    file = tmp_path / "my_driver.yaml"
    file.write_text(block("yaml", "command_topic: joint_trajectory"))
    driver = load_driver(str(file), load_robot("ur5e"))
    assert driver.gripper is not None
    assert driver.gripper.command_topic == "gripper_controller/commands"
    more = yaml.safe_load(block("yaml", "assumed_object"))
    both = convert(yaml.safe_load(file.read_text()) | more, DriverConfig, "the page")
    assert isinstance(both.assumed_object, AssumedObject)


def test_the_robot_s_configuration_and_the_operators_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(block("yaml", "endpoints:"))
    config = load_config(file)
    assert config.robot_names == ("robot_1", "robot_2")
    operators = tmp_path / "operators.yaml"
    operators.write_text(block("yaml", "tokens:"))
    assert "no valid operator token" in OperatorTokens(operators).refusal("ann", "guess")


def test_the_cell_s_parameters_are_ones_it_has() -> None:
    given = yaml.safe_load(block("yaml", "ros__parameters"))["/robot_1/cell_node"]["ros__parameters"]
    source = (ROOT / "floop_robot" / "ros" / "node" / "node_parameters.py").read_text()
    for name, value in given.items():
        assert f'"{name}"' in source
        assert not isinstance(value, str) or f'"{value}"' in source
