"""A fleet of simulated robots: N times driver, safety and policy, and beside them all that makes them learn.

ros2 launch floop_robot fleet.launch.py robots:=4
"""

from launch import LaunchDescription

from floop_robot.ros.launching import (
    ROBOT_ARGUMENTS,
    LaunchRequest,
    declare_arguments,
    describe_launch,
    restrict_to_localhost,
    start_processes,
)
from floop_robot.services.supervision.fleet_description import Middleware, simulated_fleet
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.ros_domain import check_robots


def fleet(request: LaunchRequest) -> list[ProcessSpec]:
    """Every process of the fleet."""
    check_robots(request.config.robots)
    return simulated_fleet(request.config, request.file, Middleware.ROS)


def generate_launch_description() -> LaunchDescription:
    """Arguments, network, processes."""
    return describe_launch(
        __file__,
        [
            *declare_arguments("config", "robots", "explorers", "seed", "run_dir"),
            *declare_arguments(*ROBOT_ARGUMENTS),
            *restrict_to_localhost(),
            start_processes(fleet),
        ],
    )
