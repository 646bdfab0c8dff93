"""A file of ROS parameters is checked before a node starts: ROS would ignore what fits no node."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_robot.ros.node.node_parameters import fleet_nodes
from floop_robot.ros.node.parameter_file import check_parameter_file, names_for_several, parameter_files
from floop_robot.spec.errors import FloopError

NODES = fleet_nodes(("robot_1", "robot_2"))
RIGHT = (
    "/robot_1/cell_node:\n  ros__parameters: {homing_speed: 0.2, object_ready: confirmed, open_gripper: first}\n",
    "/robot_1/cell_node: {ros__parameters: {homing_speed: 1}}\n/*/policy_node: {ros__parameters: {autostart: true}}\n",
    "/**:\n  ros__parameters: {use_sim_time: true}\n",
    "/**/policy_node:\n  ros__parameters: {episode_start: service}\n",
    "/**:\n  ros__parameters: {episode_start: service, homing_speed: 2e-1}\n",
    "robot_1:\n  cell_node:\n    ros__parameters:\n      homing: outside\n",
    "/*/safety_node:\n  ros__parameters: {qos_overrides: {/clock: {subscription: {depth: 5}}}}\n",
)
WRONG = (
    ("/robot_1/policy_node: {ros__parameters: {episode_begin: service}}", "unknown parameter 'episode_begin'"),
    ("/robot_1/policy_node: {ros__parameters: {episode_strat: service}}", "did you mean 'episode_start'?"),
    ("/**: {ros__parameters: {episode_strat: service}}", "did you mean 'episode_start'?"),
    ("/robot_1/policy_node: {ros__parameters: {homing_speed: 0.2}}", "unknown parameter 'homing_speed'"),
    ("/robot_1/policy_node: {ros__parameters: {episode_start: servise}}", "use one of 'auto', 'service'"),
    ("/robot_1/policy_node: {ros__parameters: {autostart: 1}}", "autostart is 1; use true or false"),
    ("/robot_1/cell_node: {ros__parameters: {homing_speed: .nan}}", "homing_speed is nan; use a number from 0.02 to 1"),
    ("/robot_1/cell_node: {ros__parameters: {homing_speed: -1}}", "homing_speed is -1; use a number from 0.02 to 1"),
    ("/robot_1/cell_node: {ros__parameters: {homing_speed: [0.2]}}", "homing_speed is [0.2]; use a number"),
    ("/robot_1/cell_nod: {ros__parameters: {homing_speed: 0.2}}", "did you mean '/robot_1/cell_node'?"),
    (
        "/robot_7/cell_node: {ros__parameters: {homing_speed: 0.2}}",
        "/robot_7/cell_node is no node of this fleet; known: /robot_",
    ),
    ("cell_node: {ros__parameters: {homing_speed: 0.2}}", "/cell_node is no node of this fleet; known: /robot_1/"),
    ("/robot_1/cell_node: {ros_parameters: {homing_speed: 0.2}}", "below `ros__parameters:`"),
    ("/robot_1/cell_node: {homing_speed: 0.2}", "neither a node nor `ros__parameters`"),
    ("ros__parameters: {homing_speed: 0.2}", "belongs below a node's name"),
    ("/robot_1/cell_node: {ros__parameters: 3}", "holds fields (name: value)"),
    ("- a\n- b", "no file of ROS parameters"),
    ("", "no file of ROS parameters"),
    ("a: [1", "is not valid YAML"),
)


@pytest.mark.parametrize("text", RIGHT)
def test_right_files_pass(text: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    assert check_parameter_file(file, NODES) == []


@pytest.mark.parametrize(("text", "refusal"), WRONG)
def test_wrong_files_are_refused_in_one_line_with_their_name(text: str, refusal: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(FloopError) as refused:
        check_parameter_file(file, NODES)
    line = str(refused.value)
    assert refusal in line and str(file) in line and "\n" not in line


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FloopError, match=r"cannot read the parameters in .*none\.yaml: No such file"):
        check_parameter_file(tmp_path / "none.yaml", NODES)


def test_sections_for_the_nodes_of_others_are_named(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("/camera/driver: {ros__parameters: {rate: 30}}\n")
    assert check_parameter_file(file, NODES) == [
        f"{file}: /camera/driver is for none of floop's nodes, and sets nothing here"
    ]


def test_a_site_is_in_front_of_every_name(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("/hall_2/robot_1/cell_node: {ros__parameters: {homing_speed: 0.2}}\n")
    assert check_parameter_file(file, fleet_nodes(("robot_1",), "/hall_2")) == []
    with pytest.raises(FloopError, match="known: /robot_1/cell_node"):
        check_parameter_file(file, NODES)


def test_names_for_several_nodes_are_found_on_a_command_line(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("/**: {ros__parameters: {a: 1, b: {c: 2}}}\n/robot_1/cell_node: {ros__parameters: {d: 1}}\n")
    (found,) = parameter_files(["node", "--ros-args", "--params-file", str(file)])
    assert names_for_several(found) == {"a", "b.c"}
