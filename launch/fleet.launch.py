"""A fleet of simulated robots: N times driver, safety and policy, and beside them all that makes them learn.

ros2 launch floop_robot fleet.launch.py robots:=4
"""

from launch import LaunchDescription

from floop_robot.ros.launching import ROBOTS, Asked, declared, on_this_machine, start
from floop_robot.services.fleet_description import Flavour, simulated_fleet
from floop_robot.services.ros_domain import check_robots
from floop_robot.services.supervisor import ProcessSpec


def fleet(asked: Asked) -> list[ProcessSpec]:
    """Every process of the fleet."""
    check_robots(asked.config.robots)
    return simulated_fleet(asked.config, asked.file, Flavour.ROS)


def generate_launch_description() -> LaunchDescription:
    """Arguments, network, processes."""
    return LaunchDescription(
        [
            *declared("config", "robots", "explorers", "seed", "run_dir"),
            *declared(*ROBOTS),
            *on_this_machine(),
            start(fleet),
        ]
    )
