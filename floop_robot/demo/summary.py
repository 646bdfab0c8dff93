"""Builds the demo's report from what the run left behind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from floop_envs.seeds import Purpose, seed_of
from floop_robot.bundle.delivery import InstallStage
from floop_robot.demo.chaos_runner import AckLedger
from floop_robot.demo.evaluate import EvaluationResult
from floop_robot.demo.live_success import ObservedShift, rate_of
from floop_robot.demo.loop_waits import PartWait, waits_line
from floop_robot.demo.references import best_known
from floop_robot.demo.report import DemoReport, LiveRates, Rate
from floop_robot.demo.snapshot import RobotView, Snapshot
from floop_robot.deploy import NoImprovement, TimeToImprovement
from floop_robot.deploy.registry import History, Origin
from floop_robot.deploy.tti import shown_success
from floop_robot.robot.rate_loop import RateStats
from floop_robot.services.fleet_manager import baseline_path
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.services.supervision.supervisor import Restart
from floop_robot.sim.sim_world import SimWorld
from floop_robot.spec.config import FloopConfig
from floop_robot.stats.paired_difference import loss_p_value
from floop_robot.stream.journal_reader import JournalAudit

MAX_KNOWN_LOSS = 0.01
"""A run has failed if it is shown, at `LOSS_ALPHA`, that success on known tasks fell by more than this."""
LOSS_ALPHA = 0.05
"""Chance alone fails no more than this share of the runs that kept their known tasks."""


class RunData(msgspec.Struct, frozen=True):
    """What can only be read while the fleet runs."""

    snapshot: Snapshot
    audit: JournalAudit
    restarts: tuple[Restart, ...]
    bare_timer: list[RateStats]


def bare_timer(run_dir: Path) -> list[RateStats]:
    """Read the figures of the timer that does nothing."""
    return read_stats(run_dir, "bare_timer", RateStats)


def summarize(
    config: FloopConfig,
    world: SimWorld,
    required_success: float,
    shifted: ObservedShift,
    history: History,
    improvement: TimeToImprovement | NoImprovement,
    run_data: RunData,
    evaluated: EvaluationResult,
    waits: dict[str, PartWait],
    wall_s: float,
) -> DemoReport:
    """Make the report of one run.

    `world`: the shifted one; `required_success`: share of shifted tasks that the final policy must reach.
    """
    shift = world.shift or ""
    found = improvement if isinstance(improvement, TimeToImprovement) else None
    fits, reason = _recovered(improvement, evaluated, waits, required_success)
    return DemoReport(
        recovered=fits,
        reason=reason,
        **_measured(evaluated, config.seed),
        best_known=best_known(config.task, shift),
        live=_live_rates(history, shifted, found.fix_version if found else None),
        **_improved(found),
        shown_success_s=shown_success(history, shifted.includes, config.deploy.alpha),
        waits=waits,
        confirm_success=found.bound if found else config.deploy.confirm_success,
        final_version=history.versions[-1].version,
        apply_latency_p99_s=_apply_p99(history, config.robot_names),
        **_timing(run_data),
        **_learned_and_judged(run_data.snapshot),
        **_rows(run_data),
        restarts=dict(Counter(r.name for r in run_data.restarts)),
        bundles={
            "shipped": str(baseline_path(config)),
            "final": str(Path(config.run_dir) / "final.floop"),
        },
        journal=str(Path(config.run_dir) / "journal.sqlite"),
        task=config.task,
        algo=config.learner.algo,
        robots=config.robots,
        seed=config.seed,
        shift=shift,
        shift_robots=world.robots,
        wall_s=wall_s,
    )


def _measured(evaluated: EvaluationResult, seed: int) -> dict[str, Any]:
    return {
        "success_before": evaluated.shipped_old.value,
        "success_dip": evaluated.shipped_shifted.value,
        "success_after": evaluated.final_shifted.value,
        "old_success_after": evaluated.final_old.value,
        "evaluation_episodes": evaluated.shipped_old.episodes,
        "evaluation_first_seed": seed_of(Purpose.REPORT, seed, 0),
        "known_lost": evaluated.known_lost,
        "known_gained": evaluated.known_gained,
        "known_loss_p": _known_loss_p(evaluated),
    }


def _improved(found: TimeToImprovement | None) -> dict[str, Any]:
    if found is None:
        nothing = dict.fromkeys(("tti_s", "tti_apply_s", "fix_version", "fix_lower_bound"))
        return {**nothing, "tti_stages_s": {}, "fix_episodes": Rate(0, 0)}
    return {
        "tti_s": found.tti_s,
        "tti_apply_s": found.tti_apply_s,
        "tti_stages_s": found.stages_s,
        "fix_version": found.fix_version,
        "fix_episodes": Rate(found.episodes.successes, found.episodes.episodes),
        "fix_lower_bound": found.lower_bound,
    }


def _timing(run_data: RunData) -> dict[str, Any]:
    rates = [boot.rate for r in run_data.snapshot.robots for boot in r.safety]
    factors = {r.name: _real_time_factor(r) for r in run_data.snapshot.robots}
    return {
        "real_time_factor": float(np.mean(list(factors.values()))),
        "real_time_factor_by_robot": factors,
        "ticks": sum(r.ticks for r in rates),
        "missed_ticks": sum(r.missed_ticks for r in rates),
        "tick_lateness_p99_s": max(r.lateness.p99_s for r in rates),
        "tick_lateness_max_s": max(r.lateness.max_s for r in rates),
        "bare_timer_missed_ticks": sum(r.missed_ticks for r in run_data.bare_timer),
        "bare_timer_lateness_max_s": max((r.lateness.max_s for r in run_data.bare_timer), default=0.0),
    }


def _learned_and_judged(snapshot: Snapshot) -> dict[str, Any]:
    fleet, learner = snapshot.fleet, snapshot.learner
    return {
        "loop_latency_p99_s": learner.latency_p99_s if learner else None,
        "gate_accepted": fleet.accepted if fleet else 0,
        "gate_rejected": fleet.rejected if fleet else 0,
        "gate_inconclusive": fleet.inconclusive if fleet else 0,
    }


def _rows(run_data: RunData) -> dict[str, Any]:
    audit, acks = run_data.audit, AckLedger()
    acks.note(run_data.snapshot)
    return {
        "rows_by_source": audit.transitions_by_source,
        "rows_acked": acks.records,
        "rows_in_journal": audit.records,
        "rows_lost": audit.lost + audit.damaged,
        "rows_doubled": audit.doubled,
    }


def _known_loss_p(evaluated: EvaluationResult) -> float:
    pairs = evaluated.final_old.episodes
    return loss_p_value(evaluated.known_lost, evaluated.known_gained, pairs, MAX_KNOWN_LOSS)


def _recovered(
    improvement: TimeToImprovement | NoImprovement,
    evaluated: EvaluationResult,
    waits: dict[str, PartWait],
    required: float,
) -> tuple[bool, str]:
    if isinstance(improvement, NoImprovement):
        return False, "; ".join(filter(None, (improvement.reason, waits_line(waits))))
    if _known_loss_p(evaluated) < LOSS_ALPHA:
        return False, (
            f"known tasks were forgotten: {evaluated.known_lost} of {evaluated.final_old.episodes} scenarios lost, "
            f"{evaluated.known_gained} gained; that is more than {MAX_KNOWN_LOSS * 100:.0f} point"
        )
    success = evaluated.final_shifted.value
    if success < required:
        return False, f"the final policy succeeds at {success:.1%} of shifted tasks; --require asks for {required:.1%}"
    return True, f"live success of v{improvement.fix_version} on shifted tasks is at least {improvement.bound:.0%}"


def _live_rates(history: History, shift: ObservedShift, fix: int | None) -> LiveRates:
    production = [e for e in history.episodes if e.production]
    after = [e for e in production if shift.includes(e)]
    first, last = history.versions[0].version, history.versions[-1].version
    for version in history.versions:  # the last one published before the shift
        if version.published_ns <= shift.at_ns:
            first = version.version
    return LiveRates(
        before_shift=rate_of(e for e in production if not shift.includes(e)),
        shifted_on_shipped=rate_of(e for e in after if e.version == first),
        shifted_on_fix=rate_of(e for e in after if e.version == fix),
        shifted_on_final=rate_of(e for e in after if e.version == last),
    )


def _real_time_factor(robot: RobotView) -> float:
    elapsed = sum(boot.elapsed_s for boot in robot.driver)
    return sum(boot.simulated_s for boot in robot.driver) / elapsed if elapsed else 0.0


def _apply_p99(history: History, robots: tuple[str, ...]) -> float | None:
    """Publication → last robot's first control step, over the gate's versions that reached all robots."""
    spans = []
    for version in history.versions:
        if version.origin is not Origin.GATE:
            continue
        acting = {
            s.receipt.robot: s.stamp_ns
            for s in history.receipts
            if s.receipt.version == version.version and s.receipt.stage is InstallStage.ACTING
        }
        if set(acting) >= set(robots):
            spans.append((max(acting.values()) - version.published_ns) * 1e-9)
    return float(np.percentile(spans, 99)) if spans else None
