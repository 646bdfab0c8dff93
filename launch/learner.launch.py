"""The central side of a fleet whose robots are elsewhere: ingest, learner, gate, explorers and fleet manager.

ros2 launch floop_robot learner.launch.py config:=site.yaml
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from floop_robot.ros.launching import (
    CENTRAL_ARGUMENTS,
    LaunchRequest,
    declare_arguments,
    describe_launch,
    start_processes,
)
from floop_robot.services.supervision.fleet_description import Middleware, central_processes
from floop_robot.services.supervision.process_spec import ProcessSpec


def centre(request: LaunchRequest) -> list[ProcessSpec]:
    """The central processes; the fleet manager may run on another machine."""
    found = central_processes(request.config, request.file, Middleware.ROS)
    return found if request.flag("fleet_manager") else [spec for spec in found if spec.name != "fleet_manager"]


def generate_launch_description() -> LaunchDescription:
    """Arguments and processes; how far DDS reaches is the environment's choice."""
    return describe_launch(
        __file__,
        [
            *declare_arguments("config", "explorers", "seed", "run_dir"),
            DeclareLaunchArgument(
                "fleet_manager", default_value="true", description="Start the fleet manager here too: true or false."
            ),
            *declare_arguments(*CENTRAL_ARGUMENTS),
            start_processes(centre),
        ],
    )
