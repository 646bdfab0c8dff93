"""The safety process of one robot as a node: limiter, watchdog, e-stop; the only one that commands the driver.

Not a safety-rated function: docs/estop.md, "What this is not".
"""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial

from floop_interfaces import msg
from floop_robot.robot.estop_socket import EstopServer
from floop_robot.robot.following_error import FollowingErrorSettings
from floop_robot.robot.host_identity import host_identity
from floop_robot.robot.ipc import Link, link_folder, sole_server
from floop_robot.robot.rate_loop import use_realtime_priority
from floop_robot.robot.safety_loop import SafetyLink
from floop_robot.ros.arm.convert import target_from_cdr
from floop_robot.ros.arm.joint_commands import JointCommandPublisher
from floop_robot.ros.arm.robot_state_subscriber import RobotStateSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.diagnostics import DiagnosticsPublisher
from floop_robot.ros.node.io import CdrSubscriber
from floop_robot.ros.node.main import RosProcess, run
from floop_robot.ros.node.name_guard import NameGuard
from floop_robot.ros.node.node_parameters import SAFETY_PARAMETERS, SIMULATED, declare_parameters
from floop_robot.ros.node.qos import COMMAND
from floop_robot.ros.node.robot_parameters import DRIVER, SAFETY_PHASE, phase_s, robot_arguments
from floop_robot.ros.safety.estop_services import EstopServices
from floop_robot.ros.safety.joint_states_confirmation import JointStatesConfirmation
from floop_robot.ros.safety.safety_publisher import SafetyPublisher
from floop_robot.services.safety import NICE, SafetyProcess, open_estop
from floop_robot.services.supervision.fleet_description import missing_safeguards
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.spec.driver_config import load_driver
from floop_robot.spec.robot_model import load_robot


def serve(ros: RosProcess) -> None:
    """Run until the process is told to stop."""
    raise_priority(NICE)
    use_realtime_priority()  # before the node is made: the threads of DDS as well
    node = ros.node("safety_node")
    parameters = declare_parameters(node, SAFETY_PARAMETERS)
    arguments = robot_arguments(node, parameters)
    config, robot = arguments.config, arguments.robot
    model, rate_hz = load_robot(config.robot.model), config.robot.servo_rate_hz
    driver = load_driver(parameters.get(DRIVER), model)
    is_real = not parameters.get(SIMULATED)
    for line in missing_safeguards(config) if is_real else ():
        node.get_logger().warning(line)
    folder = link_folder(arguments.run_dir, robot)
    with sole_server(folder, Link.COMMAND):
        estop = open_estop(arguments, is_real=is_real)
        reports = SafetyPublisher(node, robot, estop, lambda: process.loop.missed_ticks)
        states = RobotStateSubscriber(node, model, driver, config.robot.observation_timeout_s)
        link = SafetyLink(
            states,
            CdrSubscriber(node, msg.JointTarget, topics.JOINT_TARGET, COMMAND, target_from_cdr),
            JointCommandPublisher(node, model, driver, rate_hz),
            reports,
            states.faults,
        )
        following = FollowingErrorSettings(driver.following_error_rad, driver.following_error_s)
        process = SafetyProcess(
            arguments,
            estop,
            link,
            phase_s(arguments, SAFETY_PHASE),
            simulated=not is_real,
            following_error=None if driver.hardware_stop_topic else following,
        )
        services = EstopServices(node, robot, estop, driver)
        confirmations = JointStatesConfirmation(node, states)
        health = DiagnosticsPublisher(
            node,
            robot,
            process.diagnostics,
        )
        guard = NameGuard(node, robot, host_identity(arguments.run_dir), ros.stop.set)
        with process, ros.spinning(node), closing(services), closing(EstopServer(folder, estop)):
            process.run(ros.stop)
        guard.check()
        del services, health, confirmations  # the node held them, too


main = partial(run, "safety_node", serve)

if __name__ == "__main__":
    sys.exit(main())
