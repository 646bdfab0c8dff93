"""Robot and driver descriptions with one fault each, in every field: all are refused, by the field's name."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from floop_robot.spec.driver_config import DriverConfig, drivers_dir, load_driver, read_driver
from floop_robot.spec.errors import FloopError
from floop_robot.spec.faults import WrongFields
from floop_robot.spec.robot_model import RobotModel, load_robot, read_robot, robots_dir
from tests.support.wrong_descriptions import wrong_copies

ARMS = ("panda", "ur5e", "ur10e", "xarm6", "xarm7")
DRIVERS = (("franka", "panda"), ("ur", "ur5e"), ("xarm6", "xarm6"), ("xarm7", "xarm7"), ("joint_trajectory", "panda"))
FULL_DRIVER: dict[str, Any] = {
    "controller": "joint_trajectory",
    "command_topic": "/left/arm_controller/joint_trajectory",
    "joint_states_topic": "left/joint_states",
    "joint_names": [f"left_joint{i}" for i in range(1, 8)],
    "point_velocities": True,
    "time_from_start_s": 0.04,
    "gripper": {
        "joint_names": ["left_knuckle"],
        "closed": 0.8,
        "open": 0.02,
        "joint_states_topic": "left/gripper/joint_states",
        "controller": "forward_position",
        "command_topic": "left/gripper_controller/commands",
        "reports_effort": True,
        "force_n_per_effort": 10.0,
    },
    "assumed_object": {"object_class": "box", "size_m": [0.045, 0.05, 0.06]},
    "detections": {"topic": "cell/detections", "min_score": 0.6},
    "frames": {
        "camera": {"parent": "mast", "xyz_m": [0.4, -0.1, 0.3], "rpy_rad": [3.1, 0.2, -1.5]},
        "mast": {"parent": "left_base", "xyz_m": [0.9, 0.3, 0.2]},
    },
    "assumed_frame": "camera",
    "base_link": "left_base",
    "perception_timeout_s": 0.4,
    "gripper_timeout_s": 0.3,
    "source": "a manual",
}


def dump(data: Any) -> str:
    return str(yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))


class Folder:
    """Writes descriptions beside a robot's URDF, and says what is wrong with them."""

    def __init__(self, path: Path, arm: str) -> None:
        self.arm, self.file = arm, path / "mine.yaml"
        shutil.copy(robots_dir() / f"{arm}.urdf", path)
        self.right: dict[str, Any] = yaml.safe_load((robots_dir() / f"{arm}.yaml").read_text())

    def faults(self, data: Any) -> list[tuple[str, str]]:
        """Field and line of each fault of a robot model; one-line errors of the whole file have no field."""
        self.file.write_text(data if isinstance(data, str) else dump(data))
        try:
            load_robot(str(self.file))
        except WrongFields as error:
            found = [(fault.field, fault.line) for fault in error.faults]
            assert str(error).startswith(found[0][1])
        except FloopError as error:
            found = [("", str(error))]
        else:
            return []
        assert all(str(self.file) in line and "\n" not in line for _, line in found)
        return found

    def edited(self, path: str, value: Any) -> dict[str, Any]:
        """The right description with another value at `path`."""
        data: dict[str, Any] = yaml.safe_load(dump(self.right))
        *folders, name = path.split(".")
        place = data
        for folder in folders:
            place = place[folder]
        place[name] = value
        return data


@pytest.fixture
def ur5e(tmp_path: Path) -> Folder:
    return Folder(tmp_path, "ur5e")


@pytest.mark.parametrize("arm", ARMS)
def test_every_wrong_copy_of_a_robot_is_refused_by_the_field_s_name(arm: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path, arm)
    assert not folder.faults(folder.right), "the control"
    copies = list(wrong_copies(folder.right, RobotModel))[ARMS.index(arm) :: len(ARMS)]  # 20 s for all of all arms
    assert len(copies) > 40
    silent = [(c.fault, c.field, found) for c in copies if c.field not in whole(found := folder.faults(c.data))]
    assert not silent, silent[:5]
    assert not folder.faults(folder.right)


@pytest.mark.parametrize(("driver", "arm"), [*DRIVERS, ("", "xarm7")])
def test_every_wrong_copy_of_a_driver_is_refused_by_the_field_s_name(driver: str, arm: str, tmp_path: Path) -> None:
    right = yaml.safe_load((drivers_dir() / f"{driver}.yaml").read_text()) if driver else FULL_DRIVER
    model, file = load_robot(arm), tmp_path / "mine.yaml"

    def faults(data: dict[str, Any]) -> list[tuple[str, str]]:
        file.write_text(dump(data))
        return [(fault.field, fault.line) for fault in read_driver(file, model).faults]

    assert not faults(right), "the control"
    copies = list(wrong_copies(right, DriverConfig))
    silent = [(c.fault, c.field, found) for c in copies if c.field not in whole(found := faults(c.data))]
    assert not silent, silent[:5]


def whole(found: list[tuple[str, str]]) -> set[str]:
    """The fields of faults, without indices."""
    return {field.partition("[")[0] for field, _ in found}


def test_a_description_in_degrees_and_millimetres_is_told_so_in_every_field(ur5e: Folder) -> None:
    data = ur5e.edited("home_rad", [math.degrees(q) for q in ur5e.right["home_rad"]])
    limits = data["limits"]
    for name, factor in (("rad", 180 / math.pi), ("_m", 1000.0)):
        for field in [field for field in limits if name in field]:
            limits[field] = [factor * x for x in limits[field]]
    data["gripper"] |= {"max_width_m": 85.0, "speed_m_s": 150.0}
    found = dict(ur5e.faults(data))
    assert whole(list(found.items())) >= {"home_rad", *(f"limits.{field}" for field in limits), "gripper.max_width_m"}
    assert "it looks like degrees: write -1.715 rad" in found["home_rad[1]"], "-17.2 could be a joint of three turns"
    assert "it looks like degrees per second: write 2.8 rad/s" in found["limits.velocity_rad_s[0]"]
    assert "it looks like millimetres: write 0.25 m" in found["limits.workspace_low_m[0]"]
    assert "it looks like millimetres per second: write 0.15 m/s" in found["gripper.speed_m_s"]


def test_several_wrong_fields_are_each_a_line_and_the_first_error_names_the_others(ur5e: Folder) -> None:
    data = ur5e.edited("gripper.max_force_n", -3.0)
    data["limits"]["velocity_rad_s"][2] = math.nan
    data["hom_rad"] = data.pop("home_rad")
    ur5e.file.write_text(dump(data))
    with pytest.raises(WrongFields) as refused:
        load_robot(str(ur5e.file))
    assert "hom_rad" in str(refused.value) and "did you mean 'home_rad'?" in str(refused.value)
    assert "3 more wrong: home_rad, limits.velocity_rad_s[2], gripper.max_force_n" in str(refused.value)
    assert any("nan is not a finite number" in fault.line for fault in refused.value.faults)


@pytest.mark.parametrize(
    ("path", "value", "field", "says"),
    [
        ("urdf", "ur5.urdf", "urdf", "did you mean 'ur5e.urdf'?"),
        ("base_link", "base_lnik", "base_link", "did you mean 'base_link'?"),
        ("tip_link", "tcpp", "tip_link", "did you mean 'tcp'?"),
        ("base_link", "wrist_1_link", "joint_names[0]", "the chain has 2 joints"),
        ("tip_link", "base_link", "tip_link", "no joint"),
        ("home_rad", [-0.3, -1.7, 3.5, -1.6, -1.57, -1.87], "home_rad[2]", "3.5 is outside"),
        ("home_rad", [2.8, -1.7148, 1.79, -1.646, -1.5708, -1.8715], "home_rad", "puts the TCP at x = -"),
        ("gripper.joint_names", ["elbow_joint"], "gripper.joint_names[0]", "is a joint of the arm"),
        ("limits.velocity_rad_s", [2, 2, 3.3, 2, 2, 2], "limits.velocity_rad_s[2]", "joint elbow_joint, 3.1416"),
        ("limits.position_upper_rad", [6, 6, 3.3, 6, 6, 6], "limits.position_upper_rad[2]", "beyond the URDF's"),
        ("limits.effort_nm", [150, 150, 160, 28, 28, 28], "limits.effort_nm[2]", "joint elbow_joint, 150"),
        ("limits.effort_nm", [150, 150], "limits.effort_nm", "has 2 numbers for 6 joints"),
        ("limits.workspace_low_m", [0.5, -0.45, 0.01], "home_rad", "x = 0.450 m, outside limits.workspace_low_m"),
        ("joint_prefix", "left_", "joint_names[0]", "left_shoulder_pan_joint is not the joint there"),
    ],
)  # fmt: skip
def test_what_is_wrong_beside_other_fields_or_the_urdf(
    ur5e: Folder, path: str, value: Any, field: str, says: str
) -> None:
    found = dict(ur5e.faults(ur5e.edited(path, value)))
    assert field in found, found
    assert says in found[field]


@pytest.mark.parametrize(
    ("joint", "degrees", "says"),
    [
        (4, 90, "points the tool (z of tip_link) 90° away from straight down, at most 10° is right"),
        (3, 12, "12° away from straight down"),
        (3, 8, ""),
        (5, 180, ""),
    ],
)
def test_home_points_the_tool_down_whatever_its_yaw(ur5e: Folder, joint: int, degrees: float, says: str) -> None:
    home = list(ur5e.right["home_rad"])
    home[joint] += math.radians(degrees)
    free = ur5e.edited("limits.workspace_low_m", [-0.75, -0.75, 0.01])
    free["limits"]["workspace_high_m"] = [1.0, 1.0, 1.0]
    found = dict(ur5e.faults(free | {"home_rad": home}))
    assert list(found) == (["home_rad"] if says else [])
    assert not says or says in found["home_rad"]


def test_a_frame_of_the_tool_that_does_not_point_out_of_it_is_refused(ur5e: Folder) -> None:
    urdf = ur5e.file.parent / "ur5e.urdf"
    ends = '<parent link="tcp"/><child link="mine"/><origin xyz="0 0 0" rpy="0 1.5708 0"/>'
    turned = f'<link name="mine"/><joint name="to_mine" type="fixed">{ends}</joint></robot>'
    urdf.write_text(urdf.read_text().replace("</robot>", turned))
    ((field, line),) = ur5e.faults(ur5e.right | {"tip_link": "mine"})
    assert field == "home_rad" and "90° away from straight down" in line


def test_an_acceleration_in_degrees_is_refused_and_a_fast_arm_s_is_not(ur5e: Folder) -> None:
    ((field, line),) = ur5e.faults(ur5e.edited("limits.acceleration_rad_s2", [90.0] * 6))
    assert field == "limits.acceleration_rad_s2[0]"
    assert "90 is not plausible (0.01 to 60 rad/s²); it looks like degrees per s²: write 1.571 rad/s²" in line
    assert not ur5e.faults(ur5e.edited("limits.acceleration_rad_s2", [40.0] * 6))


def test_limits_beyond_the_urdf_need_a_reason(ur5e: Folder) -> None:
    data = ur5e.edited("limits.velocity_rad_s", [4.0] * 6)
    assert whole(ur5e.faults(data)) == {"limits.velocity_rad_s"}
    assert whole(ur5e.faults(data | {"beyond_urdf": ""})) == {"limits.velocity_rad_s"}
    assert not ur5e.faults(data | {"beyond_urdf": "the URDF has the planner's limits"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; it needs at least name, urdf, base_link"),
        ("# nothing yet\n", "is empty"),
        ("[1, 2]", "expected fields (name: value), got a list"),
        ("ur5e", "expected fields (name: value), got a text"),
        ("name: [", "is not valid YAML"),
        ("name: a\nname: b\n", "line 2, column 1 is not valid YAML: name is there twice"),
        ("1: 2", "key: expected a text"),
        ("when: 2026-13-45", "is not valid YAML"),
        ("a: " + "[" * 400, "is not valid YAML"),
        ("robots: 2\nrun_dir: runs\n", "is a fleet's configuration, since it has robots and run_dir; here a"),
        ("command_topic: a\n", "is a driver description, since it has command_topic; here a robot model is wanted"),
        ("/**:\n  ros__parameters: {a: 1}\n", "is a file of ROS parameters, not a robot model; give it to launch"),
    ],
)
def test_what_is_no_description_is_one_line(ur5e: Folder, text: str, says: str) -> None:
    (_, line), *_ = ur5e.faults(text)
    assert says in line


@pytest.mark.parametrize(
    "number", [".nan", ".NaN", ".NAN", ".inf", "-.inf", "+.INF", "1e999", "-1e999", "nan", "NaN", "Infinity"]
)
def test_no_spelling_of_what_is_not_finite_passes(ur5e: Folder, number: str) -> None:
    marker = ur5e.edited("gripper.max_force_n", 12345.5)
    found = dict(ur5e.faults(dump(marker).replace("12345.5", number)))
    assert list(found) == ["gripper.max_force_n"]


@pytest.mark.parametrize("number", ["010", "-07", "1:10", "1:10.5"])
def test_a_number_that_yaml_reads_to_another_base_is_refused(ur5e: Folder, number: str) -> None:
    marker = ur5e.edited("gripper.max_force_n", 12345.5)
    ((_, line),) = ur5e.faults(dump(marker).replace("12345.5", number))
    assert f"{number} is not the number that it seems" in line


@pytest.mark.parametrize("number", ["'30.5'", "\u221230.5", "30,5", "30.5 N", "61/2"])
def test_a_text_for_a_number_is_refused_with_its_cure(ur5e: Folder, number: str) -> None:
    marker = ur5e.edited("gripper.max_force_n", 12345.5)
    ((field, line),) = ur5e.faults(dump(marker).replace("12345.5", number))
    assert field == "gripper.max_force_n" and "write a plain ASCII number" in line


@pytest.mark.parametrize("number", ["+.5", ".5", "5e-1", "+5.E-1", "1", "1_0"])
def test_any_spelling_of_a_number_passes(ur5e: Folder, number: str) -> None:
    marker = ur5e.edited("gripper.max_force_n", 12345.5)
    assert not ur5e.faults(dump(marker).replace("12345.5", number))


def test_a_package_that_is_not_there_is_named_with_the_places(ur5e: Folder) -> None:
    ((field, line),) = ur5e.faults(ur5e.edited("urdf", "package://my_arm/arm.urdf"))
    assert field == "urdf" and "'package://my_arm/arm.urdf' is not in the folders above the description" in line


def test_a_prefix_is_put_before_joints_and_links(ur5e: Folder) -> None:
    urdf = ur5e.file.parent / "ur5e.urdf"
    text = urdf.read_text()
    for name in (*ur5e.right["joint_names"], "tcp", "base_link"):
        text = text.replace(f'"{name}"', f'"left_{name}"')
    urdf.write_text(text)
    assert whole(ur5e.faults(ur5e.right)) == {"base_link", "tip_link"}
    assert not ur5e.faults(ur5e.right | {"joint_prefix": "left_"})
    model = load_robot(str(ur5e.file))
    assert model.joint_names[0] == "left_shoulder_pan_joint"
    assert (model.base_link, model.tip_link) == ("left_base_link", "left_tcp")
    written = ur5e.right | {"joint_names": [f"left_{name}" for name in ur5e.right["joint_names"]]}
    written |= {"base_link": "left_base_link", "tip_link": "left_tcp"}
    assert not ur5e.faults(written), "written out, without a prefix"


def test_a_driver_s_prefix_is_put_before_the_model_s_names(tmp_path: Path) -> None:
    file, model = tmp_path / "mine.yaml", load_robot("ur5e")
    file.write_text("command_topic: commands\njoint_prefix: left_\n")
    assert load_driver(str(file), model).names(model)[0] == "left_shoulder_pan_joint"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("joint_prefix: 'left '", "joint_prefix: 'left ' can't begin a joint's name"),
        ("{joint_prefix: l_, joint_names: [l_1, l_2, l_3, l_4, l_5, l_6]}", "joint_prefix: all of joint_names begin"),
        ("controller: joint_trajektory", "controller: unknown value 'joint_trajektory'; did you mean 'joint_traj"),
        ("controller: 7", "controller: expected a text, got a whole number"),
    ],
)
def test_wrong_words_of_a_driver(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(dump(yaml.safe_load(text) | {"command_topic": "commands"}))
    with pytest.raises(WrongFields) as refused:
        load_driver(str(file), load_robot("ur5e"))
    assert says in str(refused.value)


def test_every_shipped_arm_and_driver_passes() -> None:
    for arm in ARMS:
        assert not read_robot(robots_dir() / f"{arm}.yaml").faults
    for driver, arm in DRIVERS:
        assert load_driver(driver, load_robot(arm)).source
