"""DriverConfig: the topics and controllers of a robot's own ROS driver, read from `config/drivers/NAME.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.resources import share_dir
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.yaml_file import read_yaml

Controller = Literal["joint_trajectory", "forward_position"]
"""`trajectory_msgs/JointTrajectory` for a JointTrajectoryController, or `std_msgs/Float64MultiArray` for a
ForwardCommandController (and its like) on positions."""
Seconds = Annotated[float, Meta(gt=0)]


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
    controller: Controller = "forward_position"
    command_topic: str = ""
    """Topic of the gripper's controller; empty: it listens to `gripper_command`."""
    force_n_per_effort: float = 1.0
    """Force of the fingers per unit of joint effort."""

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

    controller: Controller = "joint_trajectory"
    command_topic: str
    joint_states_topic: str = "joint_states"
    joint_names: tuple[str, ...] = ()
    """The driver's names, in the order of the robot model's; empty: they are the same."""
    point_velocities: bool = False
    """Send velocities with a trajectory point. A JointTrajectoryController refuses that unless its parameter
    `allow_nonzero_velocity_at_trajectory_end` is true."""
    time_from_start_s: Seconds | None = None
    """When a trajectory point is to be reached, s; one servo period if left out."""
    gripper: GripperJoint | None = None
    assumed_object: AssumedObject | None = None
    """For a perception that publishes `object_pose` alone."""
    perception_timeout_s: Seconds = 0.5
    """An object that was seen longer ago (s) counts as not seen."""
    gripper_timeout_s: Seconds = 0.5
    """A gripper that is silent for longer (s) makes the whole robot state stale."""
    source: str = ""
    """Source of the names, e.g. the driver's documentation."""

    def names(self, model: RobotModel) -> tuple[str, ...]:
        """The driver's joint names in the order of the model."""
        return self.joint_names or model.joint_names


def drivers_dir() -> Path:
    """Folder that holds the driver descriptions."""
    return share_dir() / "config" / "drivers"


def load_driver(name: str, model: RobotModel) -> DriverConfig:
    """Read a driver description, by name or by the path of a YAML file; raises `UnknownName` or `ConfigError`."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else drivers_dir() / f"{name}.yaml"
    if not path.is_file():
        raise UnknownName("driver", name, (p.stem for p in drivers_dir().glob("*.yaml")))
    driver = read_yaml(path, DriverConfig)
    if len(driver.names(model)) != len(model.joint_names):
        found, wanted = len(driver.joint_names), len(model.joint_names)
        raise ConfigError(f"{path} names {found} joints, but {model.name} has {wanted}; name them in the model's order")
    gripper = driver.gripper
    if gripper and (not gripper.joint_names or gripper.open == gripper.closed):
        raise ConfigError(f"{path}: gripper needs joint_names, and two different positions `closed` and `open`")
    assumed = driver.assumed_object
    if assumed and assumed.object_class not in OBJECT_CLASSES:
        raise UnknownName("object class", assumed.object_class, OBJECT_CLASSES, str(path))
    return driver
