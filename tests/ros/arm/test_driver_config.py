"""Driver descriptions, and what becomes of joint states that are unlike our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from floop_robot.ros.arm.driver_config import GripperJoint, drivers_dir, load_driver
from floop_robot.ros.arm.robot_state_subscriber import JointStateParser
from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.robot_model import load_robot, robots_dir

PANDA = load_robot("panda")
NAMES = ("a", "b", "c")
KNUCKLE = GripperJoint(joint_names=("k",), closed=0.8, open=0.0, force_n_per_effort=2.0)


def state(sec: int, nanosec: int = 0, **fields: list[str] | list[float]) -> JointState:
    return JointState(header=Header(stamp=Time(sec=sec, nanosec=nanosec)), **fields)


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
    ("text", "error", "words"),
    [
        ("controller: joint_trajectory\n", ConfigError, "command_topic"),
        ("command_topic: x\njoint_names: [a]\n", ConfigError, "names 1 joints, but panda has 7"),
        ("command_topic: x\ncontroler: forward_position\n", UnknownName, "did you mean 'controller'?"),
        ("command_topic: x\ngripper: {joint_names: [k], closed: 1.0, open: 1.0}\n", ConfigError, "two different"),
        ("command_topic: x\nassumed_object: {object_class: boxx, size_m: [1, 1, 1]}\n", UnknownName, "'box'"),
    ],
)
def test_a_bad_description_is_refused(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(error, match=words):
        load_driver(str(path), PANDA)


def test_joints_are_read_by_name_in_any_order_and_company() -> None:
    reader = JointStateParser(NAMES, None, 0.08)
    fields = {"name": ["x", "c", "a", "b"], "position": [9.0, 3.0, 1.0, 2.0], "velocity": [9.0, 0.3, 0.1, 0.2]}
    found = reader.arm(state(5, **fields), 1.5)
    assert found is not None
    assert (found.q_rad, found.dq_rad_s) == ((1.0, 2.0, 3.0), (0.1, 0.2, 0.3))
    assert (found.stamp_ns, found.mono_s) == (5_000_000_000, 1.5)


def test_part_of_an_arm_is_no_state_of_it() -> None:
    reader = JointStateParser(NAMES, KNUCKLE, 0.08)
    assert reader.arm(state(1, name=["a", "b"], position=[1.0, 2.0]), 0.0) is None
    assert reader.arm(state(1, name=["a", "b", "c"], position=[1.0, 2.0]), 0.0) is None  # a malformed one
    assert reader.gripper(state(1, name=["a", "b"], position=[1.0, 2.0]), 0.0) is None


def test_velocities_are_derived_where_none_are_published() -> None:
    reader = JointStateParser(("a",), None, 0.08)
    first = reader.arm(state(1, name=["a"], position=[1.0]), 0.0)
    second = reader.arm(state(1, 20_000_000, name=["a"], position=[1.01]), 0.02)
    again = reader.arm(state(1, 20_000_000, name=["a"], position=[1.01]), 0.03)  # the same stamp: nothing is new
    assert first is not None and second is not None and again is not None
    assert first.dq_rad_s == (0.0,)
    assert second.dq_rad_s == pytest.approx((0.5,))
    assert again.dq_rad_s == second.dq_rad_s


def test_a_gripper_may_be_a_joint() -> None:
    reader = JointStateParser(NAMES, KNUCKLE, 0.08)
    found = reader.gripper(state(1, name=["k"], position=[0.6], effort=[-7.0]), 3.0)
    assert found is not None
    assert found.width_m == pytest.approx(0.02)
    assert (found.effort_n, found.mono_s) == (14.0, 3.0)
    assert KNUCKLE.position(0.02, 0.08) == pytest.approx(0.6)
    fingers = GripperJoint(joint_names=("l", "r"), closed=0.0, open=0.04)
    assert fingers.width_m([0.01, 0.02], 0.08) == pytest.approx(0.03)
