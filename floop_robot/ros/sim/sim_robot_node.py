"""The simulated arm of one robot as a node: PyBullet in real time, with the topics of a real arm and its perception."""

from __future__ import annotations

import sys
from functools import partial

from floop_robot.robot.ipc import Link, link_folder, sole_server
from floop_robot.ros.node.diagnostics import DiagnosticsPublisher
from floop_robot.ros.node.main import RosProcess, run
from floop_robot.ros.node.node_parameters import (
    PUBLISH_CLOCK,
    PUBLISH_TF,
    SIM_ROBOT_PARAMETERS,
    declare_parameters,
)
from floop_robot.ros.node.robot_parameters import DRIVER, DRIVER_PHASE, phase_s, robot_arguments
from floop_robot.ros.sim.robot_model_publisher import RobotModelPublisher
from floop_robot.ros.sim.sim_topics import FrameSchedule, SimTopics, StatePublisher
from floop_robot.services.diagnostics import DiagnosticItem, rate_diagnostics
from floop_robot.services.sim_robot import NICE, SimRobotProcess
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.sim.sim_driver import SimDriver
from floop_robot.spec.driver_config import load_driver
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task


def serve(ros: RosProcess) -> None:
    """Run until the process is told to stop."""
    node = ros.node("sim_robot_node")
    parameters = declare_parameters(node, SIM_ROBOT_PARAMETERS)
    arguments = robot_arguments(node, parameters)
    config = arguments.config
    model, rate_hz = load_robot(config.robot.model), config.robot.servo_rate_hz
    driver = load_driver(parameters.get(DRIVER), model)
    phase = phase_s(arguments, DRIVER_PHASE)
    frames = FrameSchedule(rate_hz, get_task(config.task).spec.policy_rate_hz, phase)
    shown = RobotModelPublisher(node, model, driver, arguments.robot) if parameters.get(PUBLISH_TF) else None
    states = StatePublisher(node, model, driver, arguments.robot, parameters.get(PUBLISH_CLOCK), frames, shown)
    topics = SimTopics(node, model, driver, rate_hz, states)
    raise_priority(NICE)

    def publish_clock(arm: SimDriver) -> None:
        states.publish_clock(arm.simulated_s)

    claim = sole_server(link_folder(arguments.run_dir, arguments.robot), Link.STATE)
    with claim, SimRobotProcess(arguments, topics.link, phase, publish_clock) as process:

        def health() -> list[DiagnosticItem]:
            stats = process.driver.stats(process.loop.stats())
            factor = stats.simulated_s / stats.elapsed_s if stats.elapsed_s else 1.0
            rate = rate_diagnostics("driver loop", rate_hz, stats.rate)
            values = {"real_time_factor": f"{factor:.3f}", "episodes": stats.episodes}
            return [DiagnosticItem(rate.name, rate.level, rate.message, {**rate.values, **values})]

        diagnostics = DiagnosticsPublisher(node, arguments.robot, health)
        with ros.spinning(node):
            process.run(ros.stop)
        del diagnostics


main = partial(run, "sim_robot_node", serve)

if __name__ == "__main__":
    sys.exit(main())
