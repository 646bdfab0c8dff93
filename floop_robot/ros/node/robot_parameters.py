"""Which robot a node serves, the parameters for that, and where in a servo period its loops tick."""

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

    The robots of a host have their beats one after the other. Within a beat, driver, policy and safety tick in that
    order: each finds the newest message of the one before it, and they don't all need the processor at once.
    """
    return (arguments.index / arguments.config.robots + share) / arguments.config.robot.servo_rate_hz


def robot_arguments(node: Node, parameters: Parameters) -> RobotArguments:
    """Configuration and robot of a node that declared `CONFIG` and `ROBOT`; raises `ConfigError` or `UnknownName`."""
    path = parameters.get(CONFIG)
    config = load_config(Path(path) if path else None)
    robot = parameters.get(ROBOT) or node.get_namespace().rsplit("/", 1)[-1] or config.robot_names[0]
    if robot not in config.robot_names:
        raise UnknownName("robot", robot, config.robot_names, path or "the default configuration")
    return RobotArguments(config, robot)
