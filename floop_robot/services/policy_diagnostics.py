"""What a policy process reports of its health."""

from __future__ import annotations

import math
from typing import Protocol

from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.perception import PerceptionReport
from floop_robot.services.diagnostics import (
    ERROR,
    OK,
    WARN,
    DiagnosticItem,
    rate_diagnostics,
    state_diagnostics,
    thread_diagnostics,
)
from floop_robot.services.perception_diagnostics import perception_diagnostics
from floop_robot.services.policy import PolicyProcess, RobotStats

SPOOL_WARN = 2000
"""Records that wait for ingest: two or three minutes of work."""


class ResetCalls(Protocol):
    """What became of the requests for another episode."""

    calls: int
    answers: int
    refusal: str
    """Why the driver last refused; empty after a success."""


def policy_diagnostics(
    process: PolicyProcess | None,
    resets: ResetCalls,
    safety_refused: int,
    error: str,
    perception: PerceptionReport | None = None,
) -> list[DiagnosticItem]:
    """Life cycle, control loop, episodes, links, policy and records of a policy process; None: not configured.

    `safety_refused`: messages of safety that did not convert. `error`: why the last transition failed.
    """
    state = "unconfigured" if process is None else "active" if process.is_active else "inactive"
    found = [DiagnosticItem("life cycle", ERROR if error else OK, error or state)]
    if process is None:
        return found
    figures = process.current_stats()
    if figures is not None:
        rate = rate_diagnostics("control loop", process.rules.spec.policy_rate_hz, figures.rate)
        found += [rate, _episodes(process, figures, resets), _links(process, safety_refused)]
        found.append(state_diagnostics(process.state_faults))
    if perception is not None:
        found.append(perception_diagnostics(perception))
    return [*found, _policy(process), _records(process), *thread_diagnostics()]


def _policy(process: PolicyProcess) -> DiagnosticItem:
    updater, current = process.updater.status(), process.policy_buffer.current
    version = current.version if current else 0
    newest = updater.newest
    refused = newest is not None and newest.stage.value == "refused"
    message = f"v{version} acts" if version else "no policy has arrived"
    if refused and newest is not None:
        message = newest.detail
    level = ERROR if updater.name_refused else WARN if refused or not version else OK
    return DiagnosticItem(
        "policy",
        level,
        updater.name_refused or message,
        {
            "version": version,
            "installed": process.updater.version,
            "stage": newest.stage.value if newest else "",
            "manager_linked": updater.is_linked,
        },
    )


def _episodes(process: PolicyProcess, figures: RobotStats, resets: ResetCalls) -> DiagnosticItem:
    stats, view = figures.policy, process.view
    runs = view.state is EpisodeState.RUNNING
    stuck = bool(resets.refusal) and view.state is EpisodeState.RESETTING
    message = f"episode {view.episode} runs" if runs else process.waiting_reason(view) or "between episodes"
    return DiagnosticItem(
        "episodes",
        WARN if stuck or view.estop else OK,
        f"the driver can't: {resets.refusal}" if stuck else message,
        {
            "episode": view.episode,
            "episodes": stats.episodes,
            "successes": stats.successes,
            "aborted": stats.aborted,
            "interventions": view.interventions,
            "ik_failures": stats.ik_failures,
            "states_refused": stats.states_refused,
            "grasps_judged_by": "width and perceived lift" if stats.judges_by_width else "gripper effort",
            "reset_calls": resets.calls,
            "reset_answers": resets.answers,
            "latency_p50_ms": f"{stats.latency.p50_s * 1e3:.1f}",
            "latency_p99_ms": f"{stats.latency.p99_s * 1e3:.1f}",
        },
    )


def _links(process: PolicyProcess, safety_refused: int) -> DiagnosticItem:
    view, limit_s = process.view, process.arguments.config.robot.observation_timeout_s
    silent = [n for n, age in (("driver", view.robot_age_s), ("safety", view.safety_age_s)) if age > limit_s]
    return DiagnosticItem(
        "links",
        ERROR if silent else OK,
        f"{' and '.join(silent)} silent" if silent else "driver and safety speak",
        {
            "robot_age_ms": _ms(view.robot_age_s),
            "safety_age_ms": _ms(view.safety_age_s),
            "safety_refused": safety_refused,
        },
    )


def _records(process: PolicyProcess) -> DiagnosticItem:
    stats = process.uploader.stats()
    writer, sender = stats.writer, stats.sender
    problem = writer.error or sender.error or (f"{writer.dropped} records dropped" if writer.dropped else "")
    problem = problem or (f"the spool was damaged in {writer.damaged} places; see the log" if writer.damaged else "")
    level = ERROR if writer.error or writer.dropped else WARN if problem or stats.depth > SPOOL_WARN else OK
    return DiagnosticItem(
        "records",
        level,
        problem or ("ingest answers" if sender.is_connected else "ingest is away; records wait here"),
        {
            "spool_depth": stats.depth,
            "written": writer.written,
            "acked": sender.acked,
            "dropped": writer.dropped,
            "refused": writer.refused,
            "new_boots": sender.forks,
            "ingest_linked": sender.is_connected,
        },
    )


def _ms(age_s: float) -> str:
    return f"{age_s * 1e3:.0f}" if math.isfinite(age_s) else "never"
