"""A node's health on `/diagnostics`, once a second (REP 107)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from floop_robot.robot.rate_loop import RateStats
from floop_robot.ros.node.qos import EVENTS
from floop_robot.ros.node.stamps import header
from floop_robot.ros.node.timers import create_steady_timer
from floop_robot.ros.node.topics import DIAGNOSTICS

OK: Final = DiagnosticStatus.OK
WARN: Final = DiagnosticStatus.WARN
ERROR: Final = DiagnosticStatus.ERROR
PERIOD_S: Final = 1.0


class DiagnosticItem(msgspec.Struct, frozen=True):
    """One line of a diagnostics screen."""

    name: str
    """Part of the node that it is about: "servo loop"."""
    level: bytes
    """`OK`, `WARN` or `ERROR`."""
    message: str
    values: Mapping[str, object] = MappingProxyType({})


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
                level=health.level,
                name=f"{self._name}: {health.name}",
                message=health.message,
                hardware_id=self._hardware,
                values=[KeyValue(key=key, value=str(value)) for key, value in health.values.items()],
            )
            for health in self._look()
        ]
        self._publisher.publish(DiagnosticArray(header=header(), status=found))


def rate_diagnostics(name: str, rate_hz: float, stats: RateStats) -> DiagnosticItem:
    """How a loop keeps its rate: a warning once one tick in a thousand was missed."""
    in_time = stats.missed_ticks * 1000 <= stats.ticks
    return DiagnosticItem(
        name,
        OK if in_time else WARN,
        f"{rate_hz:g} Hz" if in_time else f"missed {stats.missed_ticks} of {stats.ticks + stats.missed_ticks} ticks",
        {
            "rate_hz": f"{rate_hz:g}",
            "ticks": stats.ticks,
            "missed_ticks": stats.missed_ticks,
            "late_p50_ms": f"{stats.lateness.p50_s * 1e3:.2f}",
            "late_p99_ms": f"{stats.lateness.p99_s * 1e3:.2f}",
            "late_max_ms": f"{stats.lateness.max_s * 1e3:.2f}",
            "busy_p99_ms": f"{stats.busy.p99_s * 1e3:.2f}",
        },
    )
