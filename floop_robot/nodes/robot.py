"""Which robot a node serves, and the parameters that say so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rclpy.node import Node

from floop_robot.nodes.parameters import Parameter, Parameters
from floop_robot.processes.driving import RobotArguments
from floop_robot.spec.config import load_config
from floop_robot.spec.errors import UnknownName

CONFIG: Final = Parameter("config", "", "Path of the fleet's YAML configuration; empty: the defaults.")
ROBOT: Final = Parameter("robot", "", "Name of the robot in the fleet; empty: the last part of the node's namespace.")


def robot_arguments(node: Node, parameters: Parameters) -> RobotArguments:
    """Configuration and robot of a node that declared `CONFIG` and `ROBOT`; raises `ConfigError` or `UnknownName`."""
    path = parameters.text(CONFIG.name)
    config = load_config(Path(path) if path else None)
    robot = parameters.text(ROBOT.name) or node.get_namespace().rsplit("/", 1)[-1] or config.robot_names[0]
    if robot not in config.robot_names:
        raise UnknownName("robot", robot, config.robot_names, path or "the default configuration")
    return RobotArguments(config, robot)
