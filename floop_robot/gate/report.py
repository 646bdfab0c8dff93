"""TrialReport: everything that a verdict rests on, and the page of it for people (`floop reports`)."""

from __future__ import annotations

import math

import msgspec

from floop_robot.bundle import Manifest
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import Pair
from floop_robot.spec.calibration import calibration_text
from floop_robot.spec.local_time import local_time
from floop_robot.spec.verdict import SuiteResult, Verdict


class TrialReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a verdict rests on; the pairs can be run again from their seeds and the sources named here."""

    verdict: Verdict
    candidate: Manifest
    target_tasks: TargetTasks
    resolved: tuple[str, ...]
    """Classes learned since the shipped policy; a part of known tasks."""
    pairs: tuple[Pair, ...]
    judged_ns: int
    """Wall clock."""


def markdown(report: TrialReport) -> str:
    """Return the page for people."""
    verdict, candidate = report.verdict, report.candidate
    corrections = candidate.calibration
    lines = [
        f"# {verdict.decision}: candidate {verdict.candidate_sha256[:8]} against v{verdict.incumbent_version}",
        "",
        f"{verdict.reason[:1].upper()}{verdict.reason[1:]}.",
        "",
        "| suite | pairs | candidate | 95 % interval | incumbent | cycle s | incumbent's | limiter | violations |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(s) for s in verdict.suites),
        "",
        f"- {candidate.algo} on {candidate.task}, {candidate.data.transitions} transitions, "
        f"journal to {candidate.data.journal_to}",
        f"- target tasks: {_names(report.target_tasks.names)}; not to be simulated: "
        f"{_names(report.target_tasks.without_model)}; learned since the start: {_names(report.resolved)}",
        *([f"- it corrects perceived positions of {calibration_text(corrections)}"] if corrections else []),
        f"- alpha {verdict.alpha:g}, first seed {verdict.seed}, {verdict.duration_s:.2f} s, "
        f"judged {local_time(report.judged_ns)}",
        "",
    ]
    return "\n".join(lines)


def _row(suite: SuiteResult) -> str:
    low, high = suite.candidate_interval
    cells = (
        suite.name,
        str(suite.episodes),
        str(suite.candidate_successes),
        f"{100 * low:.0f}-{100 * high:.0f} %",
        str(suite.incumbent_successes),
        _seconds(suite.candidate_cycle_s),
        _seconds(suite.incumbent_cycle_s),
        str(suite.candidate_interventions),
        str(suite.limit_violations),
    )
    return f"| {' | '.join(cells)} |"


def _names(classes: tuple[str, ...]) -> str:
    return ", ".join(classes) or "none"


def _seconds(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
