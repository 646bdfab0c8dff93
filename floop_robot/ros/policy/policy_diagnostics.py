"""A policy node's lines on `/diagnostics`."""

from __future__ import annotations

import math

from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.ros.node.diagnostics import ERROR, OK, WARN, DiagnosticItem, rate_diagnostics
from floop_robot.ros.policy.episode_reset_client import EpisodeResetClient
from floop_robot.ros.policy.policy_session import PolicySession
from floop_robot.services.policy import RobotStats

SPOOL_WARN = 2000
"""Records that wait for ingest: two or three minutes of work."""


def diagnostics_of(session: PolicySession | None, resets: EpisodeResetClient, error: str) -> list[DiagnosticItem]:
    """Control loop, policy, episodes, records and links; `error`: why the last transition failed."""
    state = "unconfigured" if session is None else "active" if session.is_active else "inactive"
    found = [DiagnosticItem("life cycle", ERROR if error else OK, error or state)]
    if session is None:
        return found
    figures = session.current_stats()
    if figures is not None:
        rate = rate_diagnostics("control loop", session.rules.spec.policy_rate_hz, figures.rate)
        found += [rate, _episodes(session, figures, resets), _links(session)]
    return [*found, _policy(session), _records(session)]


def _policy(session: PolicySession) -> DiagnosticItem:
    updater, current = session.updater.status(), session.policy_buffer.current
    version = current.version if current else 0
    newest = updater.newest
    refused = newest is not None and newest.stage.value == "refused"
    message = f"v{version} acts" if version else "no policy has arrived"
    if refused and newest is not None:
        message = newest.detail
    return DiagnosticItem(
        "policy",
        WARN if refused or not version else OK,
        message,
        {
            "version": version,
            "installed": session.updater.version,
            "stage": newest.stage.value if newest else "",
            "manager_linked": updater.is_linked,
        },
    )


def _episodes(session: PolicySession, figures: RobotStats, resets: EpisodeResetClient) -> DiagnosticItem:
    stats, view = figures.policy, session.view
    runs = view.state is EpisodeState.RUNNING
    stuck = bool(resets.refusal) and view.state is EpisodeState.RESETTING
    message = f"episode {view.episode} runs" if runs else session.waiting_reason(view) or "between episodes"
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
            "reset_calls": resets.calls,
            "reset_answers": resets.answers,
            "latency_p50_ms": f"{stats.latency.p50_s * 1e3:.1f}",
            "latency_p99_ms": f"{stats.latency.p99_s * 1e3:.1f}",
        },
    )


def _links(session: PolicySession) -> DiagnosticItem:
    view, limit_s = session.view, session.arguments.config.robot.observation_timeout_s
    silent = [n for n, age in (("driver", view.robot_age_s), ("safety", view.safety_age_s)) if age > limit_s]
    return DiagnosticItem(
        "links",
        ERROR if silent else OK,
        f"{' and '.join(silent)} silent" if silent else "driver and safety speak",
        {
            "robot_age_ms": _ms(view.robot_age_s),
            "safety_age_ms": _ms(view.safety_age_s),
            "safety_refused": session.topics.safety_refused,
        },
    )


def _records(session: PolicySession) -> DiagnosticItem:
    stats = session.uploader.stats()
    writer, sender = stats.writer, stats.sender
    problem = writer.error or sender.error or (f"{writer.dropped} records dropped" if writer.dropped else "")
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
            "ingest_linked": sender.is_connected,
        },
    )


def _ms(age_s: float) -> str:
    return f"{age_s * 1e3:.0f}" if math.isfinite(age_s) else "never"
