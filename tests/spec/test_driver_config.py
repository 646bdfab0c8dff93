"""Driver descriptions: the shipped ones fit a shipped arm, and a bad one is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.spec.driver_config import GripperJoint, drivers_dir, load_driver
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.robot_model import load_robot, robots_dir

PANDA = load_robot("panda")


@pytest.mark.parametrize("path", sorted(drivers_dir().glob("*.yaml")), ids=lambda p: p.stem)
def test_each_shipped_description_fits_a_shipped_arm(path: Path) -> None:
    arms = [load_robot(p.stem) for p in robots_dir().glob("*.yaml")]
    sizes = {len(arm.joint_names) for arm in arms}
    fitting = [arm for arm in arms if _fits(path.stem, arm)]
    assert fitting, f"{path.stem} fits none with {sizes} joints"
    assert load_driver(path.stem, fitting[0]).source


def _fits(name: str, arm: object) -> bool:
    try:
        load_driver(name, arm)  # type: ignore[arg-type]
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("controller: joint_trajectory\n", "command_topic"),
        ("command_topic: x\njoint_names: [a]\n", "names 1 joints, but panda has 7"),
        ("command_topic: x\ncontroler: forward_position\n", "did you mean 'controller'?"),
        ("command_topic: x\ngripper: {joint_names: [k], closed: 1.0, open: 1.0}\n", "two different"),
        ("command_topic: x\nassumed_object: {object_class: boxx, size_m: [1, 1, 1]}\n", "'box'"),
    ],
)
def test_a_bad_description_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_driver(str(path), PANDA)


def test_two_fingers_add_up_to_the_width() -> None:
    fingers = GripperJoint(joint_names=("l", "r"), closed=0.0, open=0.04)
    assert fingers.width_m([0.01, 0.02], 0.08) == pytest.approx(0.03)
    assert fingers.position(0.03, 0.08) == pytest.approx(0.015)
