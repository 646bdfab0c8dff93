"""The fleet manager's structs as ROS messages."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from floop_interfaces import msg
from floop_robot.deploy import CommandResult, FleetStatus, MonitorReport, RobotStatus
from floop_robot.deploy.deployment_monitor import ClassReport
from floop_robot.deploy.messages import VersionLive
from floop_robot.deploy.registry import AuditEntry, CandidateInfo, VersionInfo
from floop_robot.ros.node.convert import to_message
from floop_robot.ros.node.stamps import header, to_time

CHECKED = True
"""A number that its field cannot hold is refused when the message is made; otherwise it would become another one."""
T = TypeVar("T")
M = TypeVar("M")

log = logging.getLogger(__name__)


def convert_valid(convert: Callable[[T], M], entries: Iterable[T]) -> list[M]:
    """Convert each entry. One that fits no message is left out, with a line in the log, and stops no other.

    A registry may hold such entries from times when fewer numbers were refused.
    """
    made = []
    for entry in entries:
        try:
            made.append(convert(entry))
        except Exception as error:  # checked fields raise AssertionError; what rclpy raises is not documented
            _log_invalid(f"{str(entry)[:300]} fits no message and is left out: {type(error).__name__}: {error}")
    return made


@functools.lru_cache(maxsize=1000)
def _log_invalid(line: str) -> None:
    """Log each line once: entries are converted again and again."""
    log.warning(line)


def audit_to_msg(entry: AuditEntry | CommandResult) -> msg.AuditEntry:
    """One line of the audit, as it is stored or in the answer to a command."""
    return to_message(msg.AuditEntry, entry, check_fields=CHECKED)


def robot_to_msg(robot: RobotStatus) -> msg.RobotStatus:
    """A robot as the fleet manager knows it."""
    directive = robot.directive
    drained = robot.drained or directive.drained
    pin = 0 if directive.canary else directive.pin
    return to_message(msg.RobotStatus, robot, held=directive.hold > 0, pin=pin, drained=drained)


def fleet_to_msg(status: FleetStatus) -> msg.FleetState:
    """The whole fleet."""
    return to_message(
        msg.FleetState,
        status,
        header=header(stamp_ns=status.stamp_ns),
        production_version=status.production,
        baseline_version=status.baseline,
        confirmed_versions=list(status.confirmed),
        held=status.fleet.hold > 0,
        pin=status.fleet.pin,
        watch=_monitor_to_msg(status.watch, status.watched_s),
        canary=_monitor_to_msg(status.canary, 0.0),
        waiting_sha256=status.waiting,
        robots=[robot_to_msg(robot) for robot in status.robots],
        audit=convert_valid(audit_to_msg, status.audit),
    )


def _monitor_to_msg(report: MonitorReport | None, watched_s: float) -> msg.WatchStatus:
    """The monitored version; version 0 when there is none."""
    if report is None:
        return msg.WatchStatus()
    return to_message(msg.WatchStatus, report, watched_s=watched_s, classes=[_class_to_msg(c) for c in report.classes])


def _class_to_msg(report: ClassReport) -> msg.ClassRecord:
    return to_message(
        msg.ClassRecord,
        report,
        successes=report.tally.successes,
        episodes=report.tally.episodes,
        reference_successes=report.reference.successes,
        reference_episodes=report.reference.episodes,
        focus=report.failing,
    )


def version_to_msg(version: VersionInfo, live: VersionLive | None, confirmed: bool) -> msg.PolicyVersion:
    """A version, with the production success of its weights."""
    tallies = live.classes.values() if live else ()
    return to_message(
        msg.PolicyVersion,
        version,
        check_fields=CHECKED,
        contract_id=version.ids.contract,
        limits_id=version.ids.limits,
        reward_id=version.ids.reward,
        size_bytes=version.bytes,
        confirmed=confirmed,
        successes=sum(tally.successes for tally in tallies),
        episodes=sum(tally.episodes for tally in tallies),
    )


def verdict_to_msg(candidate: CandidateInfo) -> msg.GateVerdict:
    """The gate's verdict on a candidate."""
    stamp = to_time(candidate.received_ns)
    return to_message(msg.GateVerdict, candidate.verdict, check_fields=CHECKED, stamp=stamp)
