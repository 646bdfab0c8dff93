"""One robot: policy and safety, beside your arm's driver or a simulated one.

ros2 launch floop_robot robot.launch.py namespace:=robot_1 config:=site.yaml driver:=my_arm.yaml
"""

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import PushRosNamespace

from floop_robot.ros.launching import ROBOT_ARGUMENTS, LaunchRequest, declare_arguments, start_processes
from floop_robot.services.supervision.fleet_description import ArmOptions, Middleware, robot_processes
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.spec.errors import UnknownName


def robot(request: LaunchRequest) -> list[ProcessSpec]:
    """The robot's own processes; raises `UnknownName` for a robot that the fleet does not have."""
    name = request.value("namespace").strip("/")
    if name not in request.config.robot_names:
        raise UnknownName("robot", name, request.config.robot_names, str(request.file))
    arms = ArmOptions(simulated=request.flag("simulated"), driver=request.value("driver"), cell=request.flag("cell"))
    return robot_processes(request.file, name, Middleware.ROS, arms)


def driver(context: LaunchContext) -> list[Action]:
    """The launch file of the arm's driver, in the robot's namespace."""
    path = LaunchConfiguration("driver_launch").perform(context)
    if not path:
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
                default_value="",
                description="What the arm's driver speaks: a name in config/drivers, or the path of such a file; "
                "left out, a JointTrajectoryController.",
            ),
            DeclareLaunchArgument(
                "driver_launch",
                default_value="",
                description="Launch file of the arm's driver, to be started in the robot's namespace; left out, the "
                "driver is started elsewhere.",
            ),
            DeclareLaunchArgument(
                "simulated", default_value="false", description="Start a simulated arm instead: true or false."
            ),
            DeclareLaunchArgument(
                "cell",
                default_value="true",
                description="Start floop's cell node, which answers resets and brings a real arm home; false: your "
                "own answers them.",
            ),
            *declare_arguments("config", "run_dir"),
            *declare_arguments(*ROBOT_ARGUMENTS),
            start_processes(robot),
            OpaqueFunction(function=driver),
        ]
    )
