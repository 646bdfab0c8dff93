"""The full path without arms: simulated robots whose world has shifted, and the fleet that learns its way back.

ros2 launch floop_robot sim_training.launch.py shift:=new-object
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from floop_envs.shifts import SHIFTS, get_shift
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
from floop_robot.sim.sim_world import SimWorld, set_world


def training(request: LaunchRequest) -> list[ProcessSpec]:
    """A simulated fleet; raises `UnknownName` for a shift that does not exist."""
    check_robots(request.config.robots)
    if request.value("shift"):
        get_shift(request.value("shift"))
    return simulated_fleet(request.config, request.file, Middleware.ROS)


def shift_world(request: LaunchRequest) -> None:
    """Put the robots into the world that was requested."""
    set_world(Path(request.config.run_dir), SimWorld(request.value("shift") or None))


def generate_launch_description() -> LaunchDescription:
    """Arguments, network, processes."""
    return describe_launch(
        __file__,
        [
            DeclareLaunchArgument(
                "shift",
                default_value="new-object",
                description="How the world differs from the one the shipped policy knows; empty: not at all. One of: "
                + ", ".join(shift.name for shift in SHIFTS),
            ),
            *declare_arguments("config", "robots", "explorers", "seed", "run_dir"),
            *declare_arguments(*ROBOT_ARGUMENTS),
            *restrict_to_localhost(),
            start_processes(training, prepare=shift_world),
        ],
    )
