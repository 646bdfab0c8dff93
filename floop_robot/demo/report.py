"""DemoReport: what `floop demo` found out, in words that mean the same in every run.

* `success_before` / `success_dip`: the shipped bundle on old / shifted scenarios.
* `success_after` / `old_success_after`: the final bundle on shifted / old scenarios.
  Each on the same `evaluation_episodes` scenarios for both bundles, in worlds like the robots' (with their hidden
  parameters), disjoint by seed from training, gate and live work.
* `twin_…`: the same bundles and scenarios without the hidden parameters, as the gate and the explorers see the world.
* `live`: what the robots themselves achieved, counted from their own episode ends.
* `tti_s`: from the end of the first failed episode on shifted tasks to the confirmation of live success on shifted tasks
  with the version that fixes it; `tti_apply_s`: to the last robot's first control step on that version.
  Wall time at the fleet manager. The stages add up to `tti_s`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from floop_robot.bundle import write_atomic
from floop_robot.spec.errors import StorageError


class Rate(msgspec.Struct, frozen=True):
    """Successes out of episodes."""

    successes: int
    episodes: int

    @property
    def value(self) -> float:
        """Share of successes; 0 when there was no episode."""
        return self.successes / self.episodes if self.episodes else 0.0


class LiveRates(msgspec.Struct, frozen=True, kw_only=True):
    """Production episodes of the robots (aborted ones and explorers not counted)."""

    before_shift: Rate
    shifted_on_shipped: Rate
    """Shifted tasks with the version that worked before the shift."""
    shifted_on_fix: Rate
    """Shifted tasks with the version that fixes it, up to its confirmation."""
    shifted_on_final: Rate


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `floop demo` reports; `null` where something did not happen."""

    recovered: bool
    reason: str
    success_before: float
    success_dip: float
    success_after: float
    old_success_after: float
    evaluation_episodes: int
    evaluation_first_seed: int
    """The scenarios are drawn with this seed and the following ones."""
    twin_success_before: float
    twin_success_after: float
    live: LiveRates
    tti_s: float | None
    tti_apply_s: float | None
    tti_stages_s: dict[str, float]
    fix_version: int | None
    fix_episodes: Rate
    """Live shifted episodes on the fix up to its confirmation …"""
    fix_lower_bound: float | None
    """… and the anytime-valid lower bound of its success that they showed."""
    confirm_success: float
    """What that bound had to reach."""
    final_version: int
    real_time_factor: float
    real_time_factor_by_robot: dict[str, float]
    rows_by_source: dict[str, int]
    loop_latency_p99_s: float | None
    """Transition left its control loop → first gradient step begun when it could be drawn."""
    apply_latency_p99_s: float | None
    """Published by the gate's verdict → last robot's first control step on it."""
    ticks: int
    missed_ticks: int
    tick_lateness_p99_s: float
    """Of the servo loops, the worst robot."""
    tick_lateness_max_s: float
    bare_timer_missed_ticks: int
    """Ticks that a bare timer thread at the same rate missed beside the fleet."""
    bare_timer_lateness_max_s: float
    rows_acked: int
    """Records of the robots that ingest confirmed, each counted once."""
    rows_in_journal: int
    """Records of robots and explorers in the journal."""
    rows_lost: int
    rows_doubled: int
    gate_accepted: int
    gate_rejected: int
    gate_inconclusive: int
    restarts: dict[str, int]
    bundles: dict[str, str]
    journal: str
    robots: int
    seed: int
    shift: str
    wall_s: float


def save_report(report: DemoReport, path: Path) -> None:
    """Write the report as indented JSON, whole or not at all; raises `StorageError`."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def check_writable(path: Path) -> None:
    """Raise `StorageError` now, not after minutes, when no report can be written to `path`."""
    if path.is_dir():
        raise StorageError(f"cannot write the report to {path}: it is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return
    except OSError as error:
        raise StorageError(f"cannot write the report to {path}: {error.strerror}; choose another --report") from None
