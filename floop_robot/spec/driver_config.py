"""DriverConfig: the topics and controllers of a robot's own ROS driver, read from `config/drivers/NAME.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from floop_robot.spec.driver_rules import check_driver
from floop_robot.spec.faults import Fields
from floop_robot.spec.frame_config import ROBOT_PLACEHOLDER, DetectionsTopic, FixedFrame
from floop_robot.spec.resources import share_dir
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.yaml_file import convert, description_file, read_fields

Controller = Literal["joint_trajectory", "forward_position"]
"""`trajectory_msgs/JointTrajectory` for a JointTrajectoryController, or `std_msgs/Float64MultiArray` for a
ForwardCommandController (and its like) on positions."""
FOLLOWING_ERROR_RAD: Final = 0.35
FOLLOWING_ERROR_S: Final = 1.0
ArmController = Literal["joint_trajectory", "forward_position", "follow_joint_trajectory"]
"""One of these topics, or the action `control_msgs/FollowJointTrajectory` of a driver that has none."""
GripperController = Literal["joint_trajectory", "forward_position", "gripper_command", "parallel_gripper_command"]
"""A controller as of an arm, or an action of `control_msgs`."""
GRIPPER_ACTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"gripper_command": "GripperCommand", "parallel_gripper_command": "ParallelGripperCommand"}
)
"""Kind of controller → its action of `control_msgs`."""


class GripperJoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A gripper that is one more joint of the driver, rather than the topics `gripper_state` and `gripper_command`."""

    joint_names: tuple[str, ...]
    """Joints whose positions add up to the width (two fingers), or one joint for all."""
    closed: float
    """Position of each of them at width 0, in the driver's unit (rad or m)."""
    open: float
    """Position of each at the gripper's full width."""
    joint_states_topic: str = ""
    """Where they are published; empty: with the arm's."""
    controller: GripperController = "forward_position"
    """What moves it. The last two are actions of `control_msgs`: vendors' own gripper drivers offer them."""
    command_topic: str = ""
    """Topic of the gripper's controller; empty: it listens to `gripper_command`."""
    action: str = ""
    """Name of its action, for the last two, e.g. `robotiq_gripper_controller/gripper_cmd`."""
    reports_effort: bool = False
    """Whether the driver measures the joint's effort. Many grippers report 0 always (Franka Hand, Robotiq 2F-85), and a
    grasp that waits for a force would never succeed. So it counts only where a person says that it is measured."""
    force_n_per_effort: float = 1.0
    """Force of the fingers per unit of joint effort, as it is measured (`reports_effort`) and sent with an action."""

    def width_m(self, positions: list[float], max_width_m: float) -> float:
        """Distance between the pads when the joints are at `positions`."""
        share = sum((p - self.closed) / (self.open - self.closed) for p in positions) / len(positions)
        return max(0.0, share * max_width_m)

    def position(self, width_m: float, max_width_m: float) -> float:
        """Where each joint has to be for `width_m`."""
        return self.closed + (self.open - self.closed) * width_m / max_width_m


class AssumedObject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The object to handle, where perception publishes only poses."""

    object_class: str
    """One of `spec.scenario.OBJECT_CLASSES`."""
    size_m: tuple[float, float, float]
    """Full extents along the object's own axes."""


class DriverConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The topics of a driver; names without a leading slash are relative to the robot's namespace."""

    controller: ArmController = "joint_trajectory"
    """What moves the arm. The last one is an action of `control_msgs`, for a driver without a topic. It gets ten goals
    a second, so the arm follows later."""
    command_topic: str = ""
    """Topic of the arm's controller; all but `follow_joint_trajectory` need it."""
    action: str = ""
    """Name of the action, for `follow_joint_trajectory`, e.g. `arm_controller/follow_joint_trajectory`."""
    joint_states_topic: str = "joint_states"
    joint_names: tuple[str, ...] = ()
    """The driver's names, in the order of the robot model's; empty: they are the same."""
    joint_prefix: str = ""
    """Put before each of the arm's joint names, the model's or those above, e.g. `left_` for `tf_prefix:=left_`."""
    point_velocities: bool = False
    """Send velocities with a trajectory point. A JointTrajectoryController refuses that unless its parameter
    `allow_nonzero_velocity_at_trajectory_end` is true."""
    time_from_start_s: float | None = None
    """When a trajectory point is to be reached, s; one servo period if left out."""
    gripper: GripperJoint | None = None
    assumed_object: AssumedObject | None = None
    """For a perception that publishes `object_pose` alone."""
    detections: DetectionsTopic | None = None
    """For a perception that publishes `vision_msgs/Detection3DArray`."""
    frames: dict[str, FixedFrame] = {}
    """Frames of perception that don't move. Others come from TF, where `tf2_msgs` is installed."""
    assumed_frame: str = ""
    """The frame of poses whose `frame_id` is empty; left out, such poses are refused."""
    base_link: str = ""
    """The driver's name of the arm's base link in TF; left out, it is the model's."""
    frame_prefix: str = "{robot}/"
    """What stands before the links' names in TF, as `frame_prefix` of robot_state_publisher. `{robot}` is the name in
    the fleet."""
    perception_timeout_s: float = 0.5
    """An object that was seen longer ago (s) counts as not seen."""
    gripper_timeout_s: float = 0.5
    """A gripper that is silent for longer (s) makes the whole robot state stale."""
    hardware_stop_topic: str = ""
    """`std_msgs/Bool` that is true while the arm's own stop holds: it stops floop too, and no reset is taken meanwhile.
    Without it, an arm that does not follow its commands is stopped (`following_error_rad`)."""
    hardware_stop_inverted: bool = False
    """The topic is true while the arm may move."""
    following_error_rad: float = FOLLOWING_ERROR_RAD
    """A joint does not follow when each of its commands of the last `following_error_s` lay beyond it by this much."""
    following_error_s: float = FOLLOWING_ERROR_S
    """Longer than the controller lags behind its commands, s."""
    zeros_are_real: bool = False
    """All joints at exactly 0 is a pose that this driver reports, as mock hardware does. Otherwise it is not believed
    before a joint moves or a person confirms it: a driver that has not connected says the same."""
    source: str = ""
    """Source of the names, e.g. the driver's documentation."""

    def names(self, model: RobotModel) -> tuple[str, ...]:
        """The driver's joint names in the order of the model."""
        return tuple(self.joint_prefix + name for name in self.joint_names or model.joint_names)

    @property
    def reports_effort(self) -> bool:
        """Whether the driver tells the force of the gripper. Without a gripper joint, `gripper_state` tells it."""
        return self.gripper is None or self.gripper.reports_effort

    def link_prefix(self, robot: str) -> str:
        """What stands before the names of a robot's links in TF."""
        return self.frame_prefix.replace(ROBOT_PLACEHOLDER, robot)

    def base_frame(self, model: RobotModel, robot: str) -> str:
        """Name of a robot's base link in TF: the frame of all poses that floop publishes."""
        return self.link_prefix(robot) + (self.base_link or model.base_link)


def drivers_dir() -> Path:
    """Folder that holds the driver descriptions."""
    return share_dir() / "config" / "drivers"


def load_driver(name: str, model: RobotModel | None) -> DriverConfig:
    """Read a driver description for the arm `model`, by name or by the path of a YAML file.

    Raises `UnknownName`, `ConfigError`, or `WrongFields` with one line for every wrong field.
    """
    path = driver_file(name)
    fields = read_driver(path, model)
    fields.check()
    return convert(fields.raw, DriverConfig, str(path))


def driver_file(name: str) -> Path:
    """The YAML file of a driver description, by name or path; raises `UnknownName` or `ConfigError` for none."""
    return description_file("driver", "driver description", name, drivers_dir())


def read_driver(path: Path, model: RobotModel | None) -> Fields:
    """The fields of a driver's file, and all that is wrong with them; raises `ConfigError` for what is no YAML.

    Without a `model`, what depends on the arm is not looked at.
    """
    fields = read_fields(path, DriverConfig)
    check_driver(fields, model)
    return fields
