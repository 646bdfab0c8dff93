"""What the fleet manager says, as messages, field by field."""

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
from floop_robot.ros.node.stamps import header, to_time
from floop_robot.spec.verdict import SuiteResult

CHECKED = True
"""A number that its field can't hold is told when the message is made; else it would be another one, or no answer."""
T = TypeVar("T")
M = TypeVar("M")

log = logging.getLogger(__name__)


def convert_valid(convert: Callable[[T], M], entries: Iterable[T]) -> list[M]:
    """What `convert` makes of each; one that fits no message costs no other its place: a line of the log tells.

    A registry may hold such from times when fewer numbers were refused.
    """
    made = []
    for entry in entries:
        try:
            made.append(convert(entry))
        except Exception as error:  # checked fields raise AssertionError, and what rclpy raises is not said anywhere
            _log_invalid(f"{str(entry)[:300]} fits no message and is left out: {type(error).__name__}: {error}")
    return made


@functools.lru_cache(maxsize=1000)
def _log_invalid(line: str) -> None:
    """Once for each: they are asked for again and again."""
    log.warning(line)


def audit_to_msg(entry: AuditEntry) -> msg.AuditEntry:
    """One line of the audit."""
    return msg.AuditEntry(
        stamp=to_time(entry.stamp_ns),
        epoch=entry.epoch,
        who=entry.who,
        what=entry.what,
        version=entry.version,
        detail=entry.detail,
        check_fields=CHECKED,
    )


def result_to_msg(result: CommandResult) -> msg.AuditEntry:
    """The record of a command in its answer."""
    return msg.AuditEntry(
        stamp=to_time(result.stamp_ns),
        epoch=result.epoch,
        who=result.who,
        what=result.what,
        version=result.version,
        detail=result.why,
    )


def robot_to_msg(robot: RobotStatus) -> msg.RobotStatus:
    """A robot as the fleet manager knows it."""
    return msg.RobotStatus(
        robot=robot.robot,
        version=robot.version,
        target=robot.target,
        silent_s=robot.silent_s,
        contract_fits=robot.contract_fits,
        held=robot.directive.held,
        pin=robot.directive.pin,
        drained=robot.drained or robot.directive.drained,
        estop=robot.estop,
        successes=robot.successes,
        episodes=robot.episodes,
        last_refusal=robot.last_refusal,
    )


def fleet_to_msg(status: FleetStatus) -> msg.FleetState:
    """The whole fleet."""
    return msg.FleetState(
        header=header(stamp_ns=status.stamp_ns),
        epoch=status.epoch,
        task=status.task,
        production_version=status.production,
        baseline_version=status.baseline,
        confirmed_versions=list(status.confirmed),
        held=status.fleet.held,
        pin=status.fleet.pin,
        watch=watch_to_msg(status.watch, status.watched_s),
        waiting_sha256=status.waiting,
        accepted=status.accepted,
        rejected=status.rejected,
        inconclusive=status.inconclusive,
        dropped_messages=status.dropped_messages,
        trouble=status.trouble,
        robots=[robot_to_msg(robot) for robot in status.robots],
        audit=convert_valid(audit_to_msg, status.audit),
    )


def watch_to_msg(report: MonitorReport | None, watched_s: float) -> msg.WatchStatus:
    """The watched version; version 0 when there is none."""
    if report is None:
        return msg.WatchStatus()
    return msg.WatchStatus(
        version=report.version,
        decision=report.decision.value,
        reason=report.reason,
        watched_s=watched_s,
        evidence_of_harm=report.evidence_of_harm,
        classes=[_class_to_msg(each) for each in report.classes],
    )


def _class_to_msg(each: ClassReport) -> msg.ClassRecord:
    return msg.ClassRecord(
        object_class=each.object_class,
        successes=each.tally.successes,
        episodes=each.tally.episodes,
        lower_bound=each.lower_bound,
        reference_successes=each.reference.successes,
        reference_episodes=each.reference.episodes,
        focus=each.focus,
    )


def version_to_msg(version: VersionInfo, live: VersionLive | None, confirmed: bool) -> msg.PolicyVersion:
    """A version, with what robots achieved on its weights."""
    tallies = live.classes.values() if live else ()
    return msg.PolicyVersion(
        version=version.version,
        epoch=version.epoch,
        sha256=version.sha256,
        parent=version.parent,
        replaces=version.replaces,
        restores=version.restores,
        task=version.task,
        contract_id=version.ids.contract,
        limits_id=version.ids.limits,
        reward_id=version.ids.reward,
        algo=version.algo,
        origin=version.origin.value,
        who=version.who,
        decided=to_time(version.decided_ns),
        published=to_time(version.published_ns),
        gate_s=version.gate_s,
        journal_to=version.journal_to,
        size_bytes=version.bytes,
        confirmed=confirmed,
        successes=sum(tally.successes for tally in tallies),
        episodes=sum(tally.episodes for tally in tallies),
        check_fields=CHECKED,
    )


def verdict_to_msg(candidate: CandidateInfo) -> msg.GateVerdict:
    """The gate's verdict on a candidate."""
    verdict = candidate.verdict
    return msg.GateVerdict(
        stamp=to_time(candidate.received_ns),
        decision=verdict.decision.value,
        reason=verdict.reason,
        candidate_sha256=verdict.candidate_sha256,
        incumbent_version=verdict.incumbent_version,
        suites=[_suite_to_msg(suite) for suite in verdict.suites],
        seed=verdict.seed,
        alpha=verdict.alpha,
        duration_s=verdict.duration_s,
        check_fields=CHECKED,
    )


def _suite_to_msg(suite: SuiteResult) -> msg.SuiteResult:
    return msg.SuiteResult(
        name=suite.name,
        episodes=suite.episodes,
        candidate_successes=suite.candidate_successes,
        incumbent_successes=suite.incumbent_successes,
        candidate_interval=suite.candidate_interval,
        candidate_cycle_s=suite.candidate_cycle_s,
        incumbent_cycle_s=suite.incumbent_cycle_s,
        candidate_interventions=suite.candidate_interventions,
        limit_violations=suite.limit_violations,
        check_fields=CHECKED,
    )
