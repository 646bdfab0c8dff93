"""Joint targets of the policy, and joint commands over the topics of standard controllers.

Safety publishes commands, and our own simulated driver reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from floop_interfaces import msg
from floop_robot.robot.messages import JointCommand, Joints, JointTarget
from floop_robot.ros.arm.convert import target_to_cdr
from floop_robot.ros.arm.gripper_action import GripperAction
from floop_robot.ros.arm.trajectory_action import TrajectoryAction
from floop_robot.ros.node import topics
from floop_robot.ros.node.cdr import CdrLayout, CdrMessage
from floop_robot.ros.node.io import CdrPublisher, CdrSubscriber
from floop_robot.ros.node.qos import COMMAND, LATEST
from floop_robot.ros.node.stamps import now_numbers
from floop_robot.spec.driver_config import GRIPPER_ACTIONS, Controller, DriverConfig, GripperJoint
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.robot_model import RobotModel

REPEAT_TICKS: Final = 10
"""After how many ticks an unchanged gripper command is repeated: grippers are slow, and drivers may start late."""


class JointTargetPublisher:
    """Publishes what the policy wants, for safety."""

    def __init__(self, node: Node) -> None:
        self._publisher = CdrPublisher(node, msg.JointTarget, topics.JOINT_TARGET, COMMAND)

    def send(self, target: JointTarget, /) -> None:
        """Publish."""
        self._publisher.send(target_to_cdr(self._publisher.writer, target))


class ControllerPublisher:
    """Publishes positions to one controller."""

    def __init__(self, node: Node, controller: Controller, topic: str, names: tuple[str, ...], reach_s: float) -> None:
        """`reach_s` is when a trajectory's point is to be reached."""
        self._names, self._is_trajectory = list(names), controller == "joint_trajectory"
        self._reach = int(reach_s), int(reach_s % 1 * 1e9)
        kind = JointTrajectory if self._is_trajectory else Float64MultiArray
        self._publisher = CdrPublisher(node, kind, topic, COMMAND)

    def send(self, q: Joints, dq: Joints = ()) -> None:
        """Publish positions, and velocities if given."""
        # In a trajectory an empty stamp means: start now. A driver on another clock would drop any other.
        numbers = (0, 0, *q, *dq, *self._reach) if self._is_trajectory else (0, *q)
        shape = len(q), len(dq)
        self._publisher.send(self._publisher.writer.write(shape, lambda: self._example(q, dq), numbers))

    def _example(self, q: Joints, dq: Joints) -> JointTrajectory | Float64MultiArray:
        if not self._is_trajectory:
            return Float64MultiArray(data=q)
        point = JointTrajectoryPoint(positions=q, velocities=dq)
        return JointTrajectory(joint_names=self._names, points=[point])


class JointCommandPublisher:
    """Publishes what safety lets through to the driver's controllers."""

    def __init__(self, node: Node, model: RobotModel, driver: DriverConfig, servo_rate_hz: float) -> None:
        reach_s = driver.time_from_start_s or 1.0 / servo_rate_hz
        self._velocities, self._gripper = driver.point_velocities, driver.gripper
        self._max_width_m = model.gripper.max_width_m
        self._arm: ControllerPublisher | TrajectoryAction
        if driver.controller == "follow_joint_trajectory":
            self._arm = TrajectoryAction(node, driver.action, driver.names(model), reach_s)
        else:
            self._arm = ControllerPublisher(node, driver.controller, driver.command_topic, driver.names(model), reach_s)
        self._gripper_joints = _gripper_sender(node, driver.gripper, reach_s) if driver.gripper else None
        self._gripper_topic = CdrPublisher(node, msg.GripperCommand, topics.GRIPPER_COMMAND, COMMAND)
        self._last_grip = (-1.0, -1.0)
        self._repeat = 0

    def send(self, command: JointCommand, /) -> None:
        """Publish."""
        self._arm.send(command.q_rad, command.dq_rad_s if self._velocities else ())
        wanted = (command.gripper_width_m, command.gripper_force_n)
        self._repeat -= 1
        if wanted == self._last_grip and self._repeat > 0:
            return
        self._last_grip, self._repeat = wanted, REPEAT_TICKS
        numbers = (*now_numbers(), *wanted, 0.0)  # at the speed that the driver likes
        self._gripper_topic.send(self._gripper_topic.writer.write((), msg.GripperCommand, numbers))
        if self._gripper_joints is not None and self._gripper is not None:
            self._gripper_joints(self._gripper.position(wanted[0], self._max_width_m), wanted[1])


def _gripper_sender(node: Node, gripper: GripperJoint, reach_s: float) -> Callable[[float, float], None] | None:
    """Takes the position of each joint, and the largest force (N); None for a gripper with only `gripper_command`."""
    if gripper.controller in GRIPPER_ACTIONS:
        return GripperAction(node, gripper).send
    if not gripper.command_topic:
        return None
    is_trajectory, count = gripper.controller == "joint_trajectory", len(gripper.joint_names)
    kind: Controller = "joint_trajectory" if is_trajectory else "forward_position"
    publisher = ControllerPublisher(node, kind, gripper.command_topic, gripper.joint_names, reach_s)
    return lambda position, _: publisher.send((position,) * count)


class JointCommandSubscriber:
    """Reads joint commands as a driver does, from a controller's topic and `gripper_command`."""

    def __init__(self, node: Node, model: RobotModel, driver: DriverConfig, servo_rate_hz: float) -> None:
        self._names, self._rate_hz = list(driver.names(model)), servo_rate_hz
        self._limits = model.limits.velocity_rad_s
        if driver.controller == "follow_joint_trajectory":
            raise ConfigError("a simulated arm serves no actions; use a driver with controller joint_trajectory")
        is_trajectory = driver.controller == "joint_trajectory"
        kind = JointTrajectory if is_trajectory else Float64MultiArray
        convert = self._of_trajectory if is_trajectory else self._of_positions
        # Not reliable, as a real driver's would be: a command comes in every tick, and receipts cost more than it.
        self._arm = CdrSubscriber(node, kind, driver.command_topic, LATEST, convert)
        self._layout: CdrLayout | None = None
        self._gripper_topic = CdrSubscriber(node, msg.GripperCommand, topics.GRIPPER_COMMAND, COMMAND, _width_and_force)
        self._last_grip = (model.gripper.max_width_m, 0.0)
        self._previous: Joints = ()
        self._ticks = 0

    def receive(self) -> JointCommand | None:
        """The newest command since the last call, or None."""
        self._last_grip = self._gripper_topic.receive() or self._last_grip
        return self._arm.receive()

    def _of_trajectory(self, message: CdrMessage, mono_s: float) -> JointCommand:
        if message.layout is not self._layout:
            words = message.layout.message
            self._order = [words.joint_names.index(name) for name in self._names]
            self._point, self._layout = f"points.{len(words.points) - 1}", message.layout
        positions, velocities = message[f"{self._point}.positions"], message[f"{self._point}.velocities"]
        dq = tuple([velocities[i] for i in self._order]) if velocities else None
        return self._command(tuple([positions[i] for i in self._order]), dq, mono_s)

    def _of_positions(self, message: CdrMessage, mono_s: float) -> JointCommand:
        q: Joints = message["data"]
        if len(q) != len(self._names):
            raise ValueError("wrong number of joints")
        return self._command(q, None, mono_s)

    def _command(self, q: Joints, dq: Joints | None, mono_s: float) -> JointCommand:
        if dq is None:
            before, rate_hz = self._previous or q, self._rate_hz
            rates = [(new - old) * rate_hz for new, old in zip(q, before, strict=True)]
            dq = tuple([min(max(v, -top), top) for v, top in zip(rates, self._limits, strict=True)])
        self._previous = q
        self._ticks += 1
        return JointCommand(
            tick=self._ticks,
            mono_s=mono_s,
            q_rad=q,
            dq_rad_s=dq,
            gripper_width_m=self._last_grip[0],
            gripper_force_n=self._last_grip[1],
        )


def _width_and_force(message: CdrMessage, _: float) -> tuple[float, float]:
    return message["width_m"], message["force_n"]
