"""DemoReport: the figures of `floop demo`.

* `success_before`, `success_dip`: the shipped bundle on known and on shifted tasks.
* `success_after`, `old_success_after`: the final bundle on shifted and on known tasks.
  Both bundles get the same `evaluation_episodes` scenarios. Their worlds have hidden parameters, like the robots'.
  Their seeds are used by nothing else: not by training, the gate or the robots.
  A slow machine measures fewer of them: the measurement takes no longer than 30 s.
* `live`: success of the robots, counted from their own episode ends.
* `tti_s`, time to improvement: starts when the first failed episode on a shifted task ends.
  It ends when live success on shifted tasks is confirmed for the version that fixes it.
  Where no version was confirmed, it is the first that showed 60 %. `confirm_success` says which of both.
* `tti_apply_s`: the same start, to the last robot's first control step on that version.
  Both are wall time at the fleet manager. The stages add up to `tti_s`.
* `shown_success_s`: the same start, until one version's own episodes showed this success, by lower bound.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from floop_robot.bundle import write_atomic
from floop_robot.demo.loop_waits import PartWait
from floop_robot.sim.sim_world import SimWorld
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
    """Shifted tasks with the version that was in production before the shift."""
    shifted_on_fix: Rate
    """Shifted tasks with the version that brought success back."""
    shifted_on_final: Rate


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `floop demo` reports; `null` stands for what did not happen."""

    recovered: bool
    """A gated fix was confirmed live (or showed 60 %), known tasks were kept, and `--require` is met."""
    reason: str
    """Why, in one line."""
    success_before: float
    success_dip: float
    success_after: float
    best_known: float | None
    """Success on shifted tasks of the best policy known for them (`benchmarks/references.py`)."""
    old_success_after: float
    evaluation_episodes: int
    evaluation_first_seed: int
    """Seed of the first scenario; the others follow it."""
    known_lost: int
    """Known scenarios where only the shipped policy succeeded."""
    known_gained: int
    """Known scenarios where only the final policy did."""
    known_loss_p: float
    """P-value of "known tasks are within a point" (`stats.paired_difference`); under 0.05 the run has failed."""
    live: LiveRates
    tti_s: float | None
    tti_apply_s: float | None
    tti_stages_s: dict[str, float]
    shown_success_s: dict[str, float | None]
    fix_version: int | None
    fix_episodes: Rate
    """Live episodes on shifted tasks with that version, up to its confirmation."""
    fix_lower_bound: float | None
    """Anytime-valid lower bound of its success after these episodes."""
    waits: dict[str, PartWait]
    """What the loop waited for until a version showed 60 %: explorers, learner or gate."""
    confirm_success: float
    """What the bound had to reach: `deploy.confirm_success`, or 0.6 where no version reached that."""
    final_version: int
    real_time_factor: float
    real_time_factor_by_robot: dict[str, float]
    rows_by_source: dict[str, int]
    loop_latency_p99_s: float | None
    """From a control loop's transition to the first gradient step that could sample it."""
    apply_latency_p99_s: float | None
    """From the publication of an accepted candidate to the last robot's first control step on it."""
    ticks: int
    missed_ticks: int
    tick_lateness_p99_s: float
    """Servo loop of the worst robot."""
    tick_lateness_max_s: float
    bare_timer_missed_ticks: int
    """Ticks missed by a timer that does nothing, at the same rate beside the fleet: what this machine can keep."""
    bare_timer_lateness_max_s: float
    rows_acked: int
    """Records of the robots that ingest acknowledged, each counted once."""
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
    task: str
    algo: str
    """What the fleet learned with."""
    robots: int
    seed: int
    shift: str
    shift_robots: tuple[str, ...]
    """Robots that it concerned; empty: all. Shifted tasks are theirs alone."""
    wall_s: float

    @property
    def shift_name(self) -> str:
        """The shift, with its robots if it did not concern all."""
        return SimWorld(self.shift, self.shift_robots).name


def save_report(report: DemoReport, path: Path) -> None:
    """Write the report as indented JSON, whole or not at all; raises `StorageError`."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def check_writable(path: Path) -> None:
    """Raise `StorageError` before the demo starts when no report can be written to `path`."""
    if path.is_dir():
        raise StorageError(f"cannot write the report to {path}: it is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return
    except OSError as error:
        raise StorageError(f"cannot write the report to {path}: {error.strerror}; choose another --report") from None
