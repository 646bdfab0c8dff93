"""Frames of a driver file: each mistake is refused by field, value and cure; right ones pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.spec.driver_config import load_driver
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.robot_model import load_robot

PANDA = load_robot("panda")
HEAD = "command_topic: x\n"


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + text)
    return load_driver(str(path), PANDA)


@pytest.mark.parametrize(
    "text",
    [
        "frames: {camera: {xyz_m: [0.5, 0, 0.8], rpy_rad: [3.14159, 0, 0]}}",
        "frames: {camera: {parent: mast}, mast: {parent: /panda_link0, xyz_m: [-9.9, 0, 0]}}",
        "frames: {/left_base: {}}",
        "assumed_frame: camera_color_optical_frame",
        "frame_prefix: ''",
        "base_link: left_base\nframes: {camera: {parent: left_base}, lens: {parent: panda_link0}}",
        "frame_prefix: '{robot}_'",
        "frame_prefix: left_",
        "detections: {}",
        "detections: {topic: /cell/detections, min_score: 0}",
    ],
)
def test_what_people_write_is_taken(tmp_path: Path, text: str) -> None:
    load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frames: {c: {xyz_m: [0.5, .nan, 0.8]}}", r"frames\.c\.xyz_m\[1\]: nan is not a finite number"),
        (
            "frames: {c: {xyz_m: [500, 0, 800]}}",
            r"frames\.c\.xyz_m\[0\]: 500 is not plausible .*looks like millimetres: write 0\.5 m",
        ),
        ("frames: {c: {xyz_m: [0, 0, -.inf]}}", r"frames\.c\.xyz_m\[2\]: -inf is not a finite number"),
        (
            "frames: {c: {rpy_rad: [0, -90, 0]}}",
            r"frames\.c\.rpy_rad\[1\]: -90 is not plausible .*looks like degrees: write -1\.571 rad",
        ),
        ("frames: {c: {rpy_rad: [0, 0, .nan]}}", r"frames\.c\.rpy_rad\[2\]: nan is not a finite number"),
        ("frames: {c: {parent: flange}}", r"frames\.c\.parent: 'flange' is neither panda_link0 nor in frames"),
        ("frames: {a: {parent: b}, b: {parent: a}}", r"frames\.a\.parent: 'b' leads back to a"),
        ("frames: {a: {parent: a}}", r"frames\.a\.parent: 'a' leads back to a"),
        ("frames: {a: {}, /a: {}}", "a is there twice, once with a leading slash"),
        ("frames: {panda_link0: {}}", r"frames\.panda_link0: panda_link0 is the arm's base link itself"),
        ("frames: {'': {}}", "'' is no name"),
        ("frames: {'my camera': {}}", "'my camera' is no name; write the frame's name, without spaces"),
        ("base_link: /left_base", "base_link: '/left_base' begins with a slash"),
        ("base_link: left_base\nframes: {left_base: {}}", "left_base is the arm's base link itself"),
        ("base_link: ''", "base_link: is empty; name the frame, or leave it out"),
        ("assumed_frame: ''", "assumed_frame: is empty; name the frame, or leave it out"),
        ("assumed_frame: my camera", "assumed_frame: 'my camera' is no name"),
        ("frame_prefix: /robot_1/", "frame_prefix: '/robot_1/' can't stand before"),
        ("frame_prefix: '{name}/'", "frame_prefix: '{name}/' can't stand before"),
        ("detections: {min_score: 60}", r"detections\.min_score: 60 is no score; write a number from 0 to 1"),
        ("detections: {min_score: .nan}", r"detections\.min_score: nan is not a finite number"),
        ("detections: {topic: ''}", r"detections\.topic: '' is no ROS topic name"),
        ("frames: {c: {xyz_m: [0, 0]}}", r"frames.*xyz_m"),
    ],
)
def test_a_mistake_is_refused_by_field_and_value(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value) and "mine.yaml" in str(caught.value)


def test_a_mistyped_key_has_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'xyz_m'"):
        load(tmp_path, "frames: {c: {xyz: [0, 0, 0]}}")


def test_the_prefix_has_the_robots_name_where_it_says_so(tmp_path: Path) -> None:
    for text, base in (
        ("", "robot_7/panda_link0"),
        ("frame_prefix: ''", "panda_link0"),
        ("frame_prefix: '{robot}_'", "robot_7_panda_link0"),
    ):
        assert load(tmp_path, text).base_frame(PANDA, "robot_7") == base  # type: ignore[attr-defined]
