"""The rules of a driver description: what its fields must be beside each other, and beside the arm."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from floop_robot.spec.errors import did_you_mean
from floop_robot.spec.faults import Fields
from floop_robot.spec.field_rules import check_names, check_plausible, check_topics, is_name
from floop_robot.spec.frame_rules import check_frames
from floop_robot.spec.scenario import OBJECT_CLASSES

if TYPE_CHECKING:
    from floop_robot.spec.robot_model import RobotModel


def check_driver(fields: Fields, model: RobotModel | None) -> None:
    """Add to `fields` whatever is wrong with a driver description, for the arm `model` where it is known."""
    check_plausible(fields)
    check_topics(fields)
    _arm_controller(fields)
    if fields.get("joint_states_topic") == "":
        fields.wrong("joint_states_topic", "is empty; name the topic")
    check_frames(fields, model)
    _one_publisher(fields)
    if fields.get("hardware_stop_inverted") and not fields.get("hardware_stop_topic"):
        fields.wrong("hardware_stop_inverted", "inverts a topic that is not named; set hardware_stop_topic")
    if fields.get("joint_names"):
        check_names(fields, "joint_names")
    _joint_prefix(fields)
    if model:
        _arm(fields, model)
    if fields.get("gripper") is not None:
        _gripper(fields, model)
    assumed = fields.get("assumed_object.object_class")
    if assumed is not None and assumed not in OBJECT_CLASSES:
        problem = f"unknown class {assumed!r}; {did_you_mean(assumed, OBJECT_CLASSES)}"
        fields.wrong("assumed_object.object_class", problem)


def _arm_controller(fields: Fields) -> None:
    """The controller has its topic, or its action, and not the other."""
    controller = fields.get("controller")
    if controller is None:
        return
    used, other = "command_topic", "action"
    if controller == "follow_joint_trajectory":
        used, other = other, used
    if fields.get(used) == "":
        fields.wrong(used, f"is missing or empty, and controller {controller} needs it; name it")
    if unused := fields.get(other):
        fields.wrong(other, f"{unused} is not used with controller {controller}; leave it out")


def _joint_prefix(fields: Fields) -> None:
    """It can begin a name, and does not stand in `joint_names` as well."""
    prefix, names = fields.get("joint_prefix"), fields.get("joint_names")
    if prefix and not is_name(prefix):
        fields.wrong("joint_prefix", f"{prefix!r} can't begin a joint's name; write it without spaces")
    elif prefix and names and all(name.startswith(prefix) for name in names):
        fields.wrong("joint_prefix", f"all of joint_names begin with {prefix} already; leave it out")


def _one_publisher(fields: Fields) -> None:
    """No topic serves two purposes."""
    paths = ("joint_states_topic", "command_topic", "gripper.command_topic", "hardware_stop_topic")
    seen: dict[str, str] = {}
    for path in paths:
        topic = fields.get(path)
        if topic and topic in seen:
            fields.wrong(path, f"{topic} is {seen[topic]} already; name the topic of this one")
        elif topic:
            seen[topic] = path


def _arm(fields: Fields, model: RobotModel) -> None:
    """The names of the arm's joints, in the order of the model."""
    names, wanted = fields.get("joint_names"), model.joint_names
    if not names:
        return
    if len(names) != len(wanted):
        fields.wrong(
            "joint_names",
            f"names {len(names)} joints, but {model.name} has {len(wanted)}; name them in the model's order: "
            f"{', '.join(wanted)}",
        )
        return
    numbers, wanted_numbers = list(map(_number, names)), list(map(_number, wanted))
    same_numbers = sorted(numbers) == sorted(wanted_numbers) and len(set(numbers)) == len(numbers)
    for i, (name, joint) in enumerate(zip(names, wanted, strict=True)):
        is_another = any(name.endswith(other) for other in wanted if other != joint) and not name.endswith(joint)
        if is_another or (same_numbers and numbers[i] != wanted_numbers[i]):
            order = "name them in the model's order"
            fields.wrong(f"joint_names[{i}]", f"{name} stands where the model has {joint}; {order}")


def _number(name: str) -> int:
    """The number that a joint's name ends with; -1 for none."""
    found = re.search(r"(\d+)\D*\Z", name)
    return int(found[1]) if found else -1


def _gripper(fields: Fields, model: RobotModel | None) -> None:
    check_names(fields, "gripper.joint_names")
    closed, opened = fields.get("gripper.closed"), fields.get("gripper.open")
    if closed is not None and closed == opened:
        fields.wrong("gripper.open", f"{opened:g} is gripper.closed as well; they are two different positions")
    arm = fields.get("joint_names") or (model.joint_names if model else ())
    for i, name in enumerate(fields.get("gripper.joint_names") or ()):
        if name in arm:
            fields.wrong(f"gripper.joint_names[{i}]", f"{name} is a joint of the arm; name the gripper's")
    _gripper_controller(fields)


def _gripper_controller(fields: Fields) -> None:
    """An action has a name, a topic has one; and only what is used may be stated."""
    controller, action = fields.get("gripper.controller"), fields.get("gripper.action")
    topic, scale = fields.get("gripper.command_topic"), fields.get("gripper.force_n_per_effort")
    is_action = controller in ("gripper_command", "parallel_gripper_command")
    if is_action and action == "":
        fields.wrong("gripper.action", f"is missing; name the {controller} action of the gripper's driver")
    if is_action and topic:
        fields.wrong("gripper.command_topic", f"{topic} is not used with controller {controller}; leave it out")
    if controller is not None and not is_action and action:
        fields.wrong("gripper.action", f"{action} is not used with controller {controller}; leave it out")
    if scale not in (None, 1.0) and not is_action and not fields.get("gripper.reports_effort"):
        fields.wrong(
            "gripper.force_n_per_effort",
            f"{scale:g} scales an effort that counts only with `reports_effort: true`; add that, or leave this out",
        )
