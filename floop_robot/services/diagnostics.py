"""What a process reports of its health: one line per part of it, for diagnostics screens."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from floop_robot.durable.owned_thread import thread_restarts
from floop_robot.robot.rate_loop import RateStats
from floop_robot.robot.state_faults import StateFaults


class DiagnosticLevel(enum.IntEnum):
    """How bad it is; values as in `diagnostic_msgs/DiagnosticStatus`."""

    OK = 0
    WARN = 1
    ERROR = 2


OK: Final = DiagnosticLevel.OK
WARN: Final = DiagnosticLevel.WARN
ERROR: Final = DiagnosticLevel.ERROR


class DiagnosticItem(msgspec.Struct, frozen=True):
    """One line of a diagnostics screen."""

    name: str
    """Part of the node that it is about: "servo loop"."""
    level: DiagnosticLevel
    message: str
    values: Mapping[str, object] = MappingProxyType({})


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


def thread_diagnostics() -> tuple[DiagnosticItem, ...]:
    """Threads of this process that ended unexpectedly and were started again; nothing while there is none."""
    restarts = thread_restarts()
    if not restarts:
        return ()
    text = ", ".join(f"{name} {count} times" for name, count in restarts.items())
    return (DiagnosticItem("threads", WARN, f"ended unexpectedly and started again: {text}; see the log", restarts),)


def state_diagnostics(faults: StateFaults) -> DiagnosticItem:
    """Whether robot states are believed, and how many of which kind were not."""
    silent = "" if faults.believed else "no robot state yet"
    return DiagnosticItem(
        "robot state",
        ERROR if faults.current else WARN if silent else OK,
        faults.current or silent or "believed",
        {"believed": faults.believed, "unusable": faults.total, "last_fault": faults.last}
        | {kind.value: count for kind, count in list(faults.counts.items())},
    )
