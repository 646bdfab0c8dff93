"""Which robot a node serves, and the parameters that say so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rclpy.node import Node

from floop_robot.ros.node.parameters import Parameter, Parameters
from floop_robot.services.main_loop import RobotArguments
from floop_robot.spec.config import load_config
from floop_robot.spec.errors import UnknownName

CONFIG: Final = Parameter("config", "", "Path of the fleet's YAML configuration; empty: the defaults.")
ROBOT: Final = Parameter("robot", "", "Name of the robot in the fleet; empty: the last part of the node's namespace.")

DRIVER: Final = Parameter(
    "driver",
    "joint_trajectory",
    "Description of the arm's ROS driver: a name in config/drivers, or the path of a YAML file.",
)
DRIVER_PHASE: Final = 0.0
"""Share of a servo period by which the driver ticks after its robot's beat; see `phase_s`."""
POLICY_PHASE: Final = 0.3
"""The same of the policy's control loop."""
SAFETY_PHASE: Final = 0.7
"""The same of the servo loop."""


def phase_s(arguments: RobotArguments, share: float) -> float:
    """Where on the host's steady clock a loop of this robot ticks, s: `share` of a servo period after the robot's beat.

    All robots of a host beat one after the other, and driver, policy and safety in that order, so that each finds what
    the one before it has just said, and they do not all want the processor at once.
    """
    return (arguments.index / arguments.config.robots + share) / arguments.config.robot.servo_rate_hz


def robot_arguments(node: Node, parameters: Parameters) -> RobotArguments:
    """Configuration and robot of a node that declared `CONFIG` and `ROBOT`; raises `ConfigError` or `UnknownName`."""
    path = parameters.text(CONFIG.name)
    config = load_config(Path(path) if path else None)
    robot = parameters.text(ROBOT.name) or node.get_namespace().rsplit("/", 1)[-1] or config.robot_names[0]
    if robot not in config.robot_names:
        raise UnknownName("robot", robot, config.robot_names, path or "the default configuration")
    return RobotArguments(config, robot)
