"""The simulated arm of one robot as a node: PyBullet in real time, with the topics of a real arm and its perception."""

from __future__ import annotations

import contextlib
import sys

from floop_envs.world import World
from floop_robot.robot.ipc import Link, link_folder, sole_server
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.ros.arm.driver_config import load_driver
from floop_robot.ros.node.diagnostics import DiagnosticItem, DiagnosticsPublisher, rate_diagnostics
from floop_robot.ros.node.main import RosProcess, run
from floop_robot.ros.node.parameters import Parameter, Parameters
from floop_robot.ros.node.robot_parameters import CONFIG, DRIVER, DRIVER_PHASE, ROBOT, phase_s, robot_arguments
from floop_robot.ros.sim.sim_topics import SimTopics
from floop_robot.services.main_loop import run_loop
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.sim.sim_robot import NICE, DriverStats, SimDriver
from floop_robot.sim.sim_world import RobotScenarios
from floop_robot.spec.robot_model import load_robot


def serve(ros: RosProcess) -> None:
    """Run until the process is told to stop."""
    node = ros.node("sim_robot_node")
    parameters = Parameters(
        node,
        (
            CONFIG,
            ROBOT,
            DRIVER,
            Parameter("publish_clock", False, "Publish the simulated time on /clock; for one robot alone."),
        ),
    )
    arguments = robot_arguments(node, parameters)
    config = arguments.config
    model, rate_hz = load_robot(config.robot.model), config.robot.servo_rate_hz
    driver = load_driver(parameters.text(DRIVER.name), model)
    ports = SimTopics(node, model, driver, arguments.robot, rate_hz, parameters.flag("publish_clock"))
    world = World(model)
    raise_priority(NICE)
    folder = link_folder(arguments.run_dir, arguments.robot)
    with sole_server(folder, Link.STATE), contextlib.closing(world):
        scenarios = RobotScenarios(config.task, arguments.robot, arguments.index, config.seed)
        arm = SimDriver(ports, world, scenarios, arguments.run_dir, rate_hz)

        def tick(now_s: float) -> None:
            arm.tick(now_s)
            ports.states.publish_clock(arm.simulated_s)

        loop = RateLoop(rate_hz, tick, "driver", phase_s(arguments, DRIVER_PHASE))

        def current_stats() -> DriverStats:
            return DriverStats(loop.stats(), arm.simulated_s, arm.elapsed_s, arm.episodes, arm.first_shifted)

        def health() -> list[DiagnosticItem]:
            factor = arm.simulated_s / arm.elapsed_s if arm.elapsed_s else 1.0
            rate = rate_diagnostics("driver loop", rate_hz, loop.stats())
            values = (("real_time_factor", f"{factor:.3f}"), ("episodes", str(arm.episodes)))
            return [DiagnosticItem(rate.name, rate.level, rate.message, (*rate.values, *values))]

        diagnostics = DiagnosticsPublisher(node, arguments.robot, health)
        with ros.spinning(node):
            run_loop(loop, ros.stop, StatsFile(arguments.run_dir, f"{arguments.robot}.sim_robot"), current_stats)
        del diagnostics


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    return run("sim_robot_node", serve, argv)


if __name__ == "__main__":
    sys.exit(main())
