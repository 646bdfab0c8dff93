"""DiagnosticsPublisher: a node's health on `/diagnostics`, once a second (REP 107)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from floop_robot.ros.node.qos import EVENTS
from floop_robot.ros.node.stamps import header
from floop_robot.ros.node.timers import create_steady_timer
from floop_robot.ros.node.topics import DIAGNOSTICS
from floop_robot.services.diagnostics import DiagnosticItem

PERIOD_S: Final = 1.0


class DiagnosticsPublisher:
    """Publishes what `look` finds, in the node's executor. `hardware` is the robot or machine that it is about."""

    def __init__(self, node: Node, hardware: str, look: Callable[[], Iterable[DiagnosticItem]]) -> None:
        self._look, self._hardware = look, hardware
        self._name = node.get_fully_qualified_name().strip("/")
        self._publisher = node.create_publisher(DiagnosticArray, DIAGNOSTICS, EVENTS)
        self._timer = create_steady_timer(PERIOD_S, node, self._publish)

    def _publish(self) -> None:
        found = [
            DiagnosticStatus(
                level=bytes([health.level]),
                name=f"{self._name}: {health.name}",
                message=health.message,
                hardware_id=self._hardware,
                values=[KeyValue(key=key, value=str(value)) for key, value in health.values.items()],
            )
            for health in self._look()
        ]
        self._publisher.publish(DiagnosticArray(header=header(), status=found))
