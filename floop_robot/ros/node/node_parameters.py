"""The parameters of every node: what a file of parameters may set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from rclpy.node import Node

from floop_robot.ros.node.parameter_file import names_for_several, parameter_files
from floop_robot.ros.node.parameters import Parameter, Parameters
from floop_robot.ros.node.robot_parameters import CONFIG, DRIVER, ROBOT

AUTOSTART: Final = Parameter(
    "autostart", False, "Configure and activate by itself, also after the process was started again."
)
EPISODE_START: Final = Parameter(
    "episode_start",
    "auto",
    "What starts an episode: 'auto', all being ready, or 'service', a call of start_episode or execute_task. A running "
    "node changes to 'service' only.",
    choices=("auto", "service"),
    live=True,
)
SIMULATED: Final = Parameter(
    "simulated",
    False,
    "The arm is a simulated one: without an operators' file, a name is enough to reset a stop, and after a reset it "
    "goes on by itself.",
)
PUBLISH_CLOCK: Final = Parameter("publish_clock", False, "Publish the simulated time on /clock; for one robot alone.")
PUBLISH_TF: Final = Parameter(
    "publish_tf",
    True,
    "Publish robot_description and TF, as robot_state_publisher does; false where that runs beside the simulated arm.",
)
HOMING: Final = Parameter(
    "homing",
    "safety",
    "Who brings the arm home between episodes: 'safety', by slow targets through the safety node, or 'outside', "
    "the cell's own means or a person, which is waited for.",
    choices=("safety", "outside"),
    live=True,
)
HOMING_SPEED: Final = Parameter(
    "homing_speed", 0.3, "Fastest joint on the way home, rad/s.", low=0.02, high=1.0, live=True
)
HOME_TOLERANCE: Final = Parameter(
    "home_tolerance", 0.03, "Joints this near to home count as there, rad.", low=0.001, high=0.2, live=True
)
OPEN_GRIPPER: Final = Parameter(
    "open_gripper",
    "home",
    "Where the gripper lets go of what it holds: 'home', or 'first', before the arm moves.",
    choices=("home", "first"),
    live=True,
)
OBJECT_READY: Final = Parameter(
    "object_ready",
    "seen",
    "When an object counts as ready: 'seen', as soon as an object is perceived, or 'confirmed', when somebody also "
    "calls the service cell/ready.",
    choices=("seen", "confirmed"),
    live=True,
)
SUPERVISE: Final = Parameter(
    "supervise", True, "Start the learner process and restart it when it dies; false: one runs already."
)

POLICY_PARAMETERS: Final = (CONFIG, ROBOT, DRIVER, AUTOSTART, EPISODE_START)
SAFETY_PARAMETERS: Final = (CONFIG, ROBOT, DRIVER, SIMULATED)
SIM_ROBOT_PARAMETERS: Final = (CONFIG, ROBOT, DRIVER, PUBLISH_CLOCK, PUBLISH_TF)
CELL_PARAMETERS: Final = (CONFIG, ROBOT, DRIVER, HOMING, HOMING_SPEED, HOME_TOLERANCE, OPEN_GRIPPER, OBJECT_READY)
FLEET_MANAGER_PARAMETERS: Final = (CONFIG,)
LEARNER_PARAMETERS: Final = (CONFIG, SUPERVISE)

NODE_PARAMETERS: Final[dict[str, tuple[Parameter[Any], ...]]] = {
    "policy_node": POLICY_PARAMETERS,
    "safety_node": SAFETY_PARAMETERS,
    "sim_robot_node": SIM_ROBOT_PARAMETERS,
    "cell_node": CELL_PARAMETERS,
    "fleet_manager_node": FLEET_MANAGER_PARAMETERS,
    "learner_node": LEARNER_PARAMETERS,
}


def fleet_nodes(robots: Iterable[str], site: str = "") -> dict[str, tuple[Parameter[Any], ...]]:
    """The parameters of all nodes that these robots and their fleet may have, by full name; `site` as `/site_a`."""
    found = {
        f"{site}/{name}": NODE_PARAMETERS[name.split("/")[1]]
        for name in ("fleet/fleet_manager_node", "learner/learner_node")
    }
    parts = ("policy_node", "safety_node", "sim_robot_node", "cell_node")
    return found | {f"{site}/{robot}/{part}": NODE_PARAMETERS[part] for robot in robots for part in parts}


def declare_parameters(
    node: Node, declared: Iterable[Parameter[Any]], *, on_change: Callable[[], None] = lambda: None
) -> Parameters:
    """Declare these; raises `ConfigError` or `UnknownName` for what the command line or its files set wrongly.

    A parameter of another node is no mistake where a file sets it for several, as in the section `/**`.
    """
    elsewhere = {parameter.name for group in NODE_PARAMETERS.values() for parameter in group}
    several = {name for path in parameter_files(sys.argv) for name in names_for_several(path)}
    return Parameters(node, declared, on_change=on_change, ignored=elsewhere & several)
