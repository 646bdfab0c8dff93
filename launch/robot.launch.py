"""One robot: policy and safety, beside your arm's driver or a simulated one.

ros2 launch floop_robot robot.launch.py namespace:=robot_1 config:=site.yaml driver:=my_arm.yaml
"""

from launch import Action, LaunchDescription
from launch.actions import DeclareLaunchArgument

from floop_robot.ros.driver_launch import include_driver
from floop_robot.ros.launching import (
    ROBOT_ARGUMENTS,
    LaunchRequest,
    declare_arguments,
    describe_launch,
    start_processes,
)
from floop_robot.services.supervision.fleet_description import ArmOptions, Middleware, robot_processes
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.spec.errors import ConfigError, UnknownName


def robot(request: LaunchRequest) -> list[ProcessSpec]:
    """The robot's own processes; raises `UnknownName` for a robot that the fleet does not have."""
    name = request.robot_namespace.rstrip("/").rpartition("/")[2]
    if name not in request.config.robot_names:
        raise UnknownName("robot", name, request.config.robot_names, str(request.file))
    arms = ArmOptions(simulated=request.flag("simulated"), driver=request.value("driver"), cell=request.flag("cell"))
    return [
        each.in_namespace(request.robot_namespace) for each in robot_processes(request.file, name, Middleware.ROS, arms)
    ]


def driver(request: LaunchRequest) -> list[Action]:
    """The launch file of the arm's driver, in the robot's namespace."""
    path, arguments = request.value("driver_launch"), request.value("driver_args")
    if arguments and not path:
        raise ConfigError(f"driver_args:={arguments} is for a driver_launch:=, which is not given")
    if path and request.flag("simulated"):
        raise ConfigError("simulated:=true starts a simulated arm; leave out driver_launch:=, or simulated")
    return include_driver(path, arguments, request) if path else []


def generate_launch_description() -> LaunchDescription:
    """Arguments and processes; how far DDS reaches is the environment's choice."""
    return describe_launch(
        __file__,
        [
            DeclareLaunchArgument(
                "namespace",
                default_value="robot_1",
                description="The robot's namespace. Its last part is the robot's name in the fleet; what is before it, "
                "and what surrounding launch files push, is the site's, where `fleet` and `learner` are.",
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
                description="Launch file of the arm's driver, to be started in the robot's namespace: a path, or "
                "PACKAGE/FILE; left out, the driver is started elsewhere.",
            ),
            DeclareLaunchArgument(
                "driver_args",
                default_value="",
                description="Arguments of the driver's launch file, 'name:=value name:=value'; it gets no others.",
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
            start_processes(robot, one_robot=True, beside=driver),
        ],
    )
