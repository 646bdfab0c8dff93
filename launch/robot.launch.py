"""One robot: policy and safety, with the simulated arm, with your driver's launch file, or beside a driver that runs.

ros2 launch floop_robot robot.launch.py namespace:=robot_1 config:=my_arm.yaml driver:=my_driver.launch.py
"""

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import PushRosNamespace

from floop_robot.nodes.launching import ROBOTS, Asked, declared, start
from floop_robot.processes.fleet import Flavour, robot_processes
from floop_robot.processes.supervisor import ProcessSpec
from floop_robot.spec.errors import UnknownName

SIMULATED, EXTERNAL = "sim", "external"


def robot(asked: Asked) -> list[ProcessSpec]:
    """The robot's own processes; raises `UnknownName` for a robot that the fleet does not have."""
    name = asked.value("namespace").strip("/")
    if name not in asked.config.robot_names:
        raise UnknownName("robot", name, asked.config.robot_names, str(asked.file))
    return robot_processes(asked.file, name, Flavour.ROS, simulated=asked.value("driver") == SIMULATED)


def driver(context: LaunchContext) -> list[Action]:
    """The driver's own launch file, in the robot's namespace."""
    path = LaunchConfiguration("driver").perform(context)
    if path in (SIMULATED, EXTERNAL):
        return []
    return [GroupAction([PushRosNamespace(LaunchConfiguration("namespace")), IncludeLaunchDescription(path)])]


def generate_launch_description() -> LaunchDescription:
    """Arguments and processes; how far DDS reaches is the environment's choice."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace", default_value="robot_1", description="The robot's namespace, and its name in the fleet."
            ),
            DeclareLaunchArgument(
                "driver",
                default_value=EXTERNAL,
                description="sim: the simulated arm; external: a driver that is started elsewhere; "
                "or the path of your driver's launch file, which is started in the robot's namespace.",
            ),
            *declared("config", "run_dir"),
            *declared(*ROBOTS),
            start(robot),
            OpaqueFunction(function=driver),
        ]
    )
