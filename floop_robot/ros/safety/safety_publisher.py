"""SafetyPublisher: the safety process's status, and its e-stop state with the nonces by which a reset names it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs
from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.robot.estop_interface import EstopInterface
from floop_robot.robot.messages import SafetyState
from floop_robot.ros.arm.convert import safety_to_cdr
from floop_robot.ros.node import topics
from floop_robot.ros.node.convert import to_message
from floop_robot.ros.node.io import CdrPublisher
from floop_robot.ros.node.qos import LATCHED, SENSOR
from floop_robot.spec.estop import EstopState


class SafetyPublisher:
    """Publishes `safety_status` in every tick, and `estop_state` when it changes: once a second its nonce does."""

    def __init__(self, node: Node, robot: str, estop: EstopInterface, missed: Callable[[], int]) -> None:
        """`missed` counts the servo ticks that were missed."""
        self._robot, self._estop, self._missed, self._log = robot, estop, missed, node.get_logger()
        self._status = CdrPublisher(node, msg.SafetyStatus, topics.SAFETY_STATUS, SENSOR)
        self._publisher = node.create_publisher(msg.EstopState, topics.ESTOP_STATE, LATCHED)
        self._state = structs.replace(estop.state(), latched=False, start_required=False, nonce="")

    def send(self, state: SafetyState, /) -> None:
        """Publish."""
        state = structs.replace(state, missed_ticks=self._missed())
        self._status.send(safety_to_cdr(self._status.writer, state, self._robot))
        before, self._state = self._state, self._estop.state()
        if self._state != before:
            self._publisher.publish(to_message(msg.EstopState, self._state, robot=self._robot))
            self._log_change(before, self._state)

    def _log_change(self, before: EstopState, now: EstopState) -> None:
        by = f"by {now.who}{': ' + now.why if now.why else ''}"
        if now.latched and (now.stop_id != before.stop_id or not before.latched):
            self._log.error(f"{self._robot} is stopped {by}")
        elif before.latched and not now.latched:
            self._log.warning(f"{self._robot} was reset {by}{'; it waits for a start' if now.start_required else ''}")
        elif before.start_required and not now.start_required:
            self._log.warning(f"{self._robot} was started after its reset")
