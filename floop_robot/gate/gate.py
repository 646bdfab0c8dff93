"""Gate: takes candidates, keeps pairs ready while idle, judges one candidate at a time. Knows no socket."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose
from floop_robot.bundle import Bundle, verify
from floop_robot.core import Executor, ScenarioSource
from floop_robot.gate.report import TrialReport, report_path, write_report
from floop_robot.gate.reported_tasks import TargetTasks, reported_scenarios, resolved_tasks, target_tasks
from floop_robot.gate.scenario_pool import PairedScenarioPool, ScenarioMixture
from floop_robot.gate.seed_allocator import SeedAllocator
from floop_robot.gate.trial import Suite, Trial
from floop_robot.gate.trial_runner import TrialRunner
from floop_robot.monitor.failure_monitor import FailureMonitor
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import StorageError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.spec.verdict import Decision, Verdict

log = logging.getLogger(__name__)

RESOLVED_SHARE = 0.25
"""Share of known tasks that is classes learned since the shipped policy."""


class GateResult(msgspec.Struct, frozen=True):
    """A verdict and what it speaks of."""

    verdict: Verdict
    bundle: Bundle
    report: Path
    """Where its report lies, unless the disk did not take it."""


class GateCounts(msgspec.Struct, frozen=True):
    """What the gate did since it started."""

    accepted: int = 0
    rejected: int = 0
    inconclusive: int = 0
    superseded: int = 0
    """Candidates that a newer one replaced before their trial began."""
    restarted: int = 0
    """Trials begun again because the incumbent changed under them."""
    refused: int = 0
    """Messages that held no usable bundle."""


class Gate:
    """Owned by one thread, which calls `step` in a loop."""

    def __init__(self, config: FloopConfig, executor: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: steady seconds, by which the gate rests between trials."""
        self._config, self._executor, self._clock = config, executor, clock
        self._folder = Path(config.run_dir) / "gate"
        self._task = get_task(config.task).spec
        self._ids = ids_of(get_task(config.task), load_robot(config.robot.model))
        self._seeds = SeedAllocator(self._folder / "next_seed", Purpose.GATE, config.seed)
        self._scenario_pool = PairedScenarioPool(executor, self._seeds.next)
        self.failures = FailureMonitor()
        """What fails on the robots; feed it from the journal."""
        self.counts = GateCounts()
        self._incumbent: Bundle | None = None
        self._pending: Bundle | None = None
        self._judging: Bundle | None = None
        self._trial_runner: TrialRunner | None = None
        self._target_tasks, self._sources_of = TargetTasks(), -1
        self._cooldown_until_s = 0.0
        """Steady clock: when the next trial may begin, for the learner's sake …"""
        self._warmup_ends_s = 0.0
        """… and for the sake of its warm-up, whoever is the incumbent."""
        self._sent_back = 0
        """Candidates that were not accepted in place of this incumbent."""
        self.prepares = False
        """Whether the last idle `step` had pairs to prepare."""

    @property
    def incumbent_version(self) -> int:
        """Version that candidates are compared with; 0 while unknown."""
        return self._incumbent.manifest.version if self._incumbent else 0

    @property
    def busy(self) -> bool:
        """Whether a trial is running or can begin."""
        return self._trial_runner is not None or self._may_begin()

    def _may_begin(self) -> bool:
        is_ready = self._pending is not None and self._incumbent is not None
        return is_ready and not self._is_cooling_down

    @property
    def _is_cooling_down(self) -> bool:
        return self._clock() < max(self._cooldown_until_s, self._warmup_ends_s)

    def set_incumbent(self, bundle: Bundle) -> None:
        """Compare with this policy from now on; raises `BundleRefused` or `ContractMismatch`."""
        if self._incumbent is not None and bundle.manifest.version == self._incumbent.manifest.version:
            return
        verify(bundle, self._task, self._ids, where="the gate")
        self._incumbent, self._cooldown_until_s, self._sent_back = bundle, 0.0, 0
        self._executor.add_policy(bundle.manifest.sha256, bundle.to_bytes())
        if self._trial_runner is not None:
            self._trial_runner.cancel()  # first: the pairs that it gives back are the former incumbent's
            self._trial_runner = None
            self._pending = self._pending or self._judging
            self._count("restarted")
        self._scenario_pool.set_incumbent(bundle.manifest.sha256)

    def forget_reports(self) -> None:
        """Start anew: the journal was replaced."""
        self.failures, self._sources_of = FailureMonitor(), -1

    @property
    def target_tasks(self) -> TargetTasks:
        """What trials are about just now."""
        return self._target_tasks

    def offer(self, blob: bytes) -> str:
        """Take in a candidate; the newest wins. Returns its SHA-256; raises `BundleRefused` or `ContractMismatch`."""
        try:
            bundle = Bundle.from_bytes(blob, "the candidate")
            verify(bundle, self._task, self._ids, where="the gate")
        except Exception:
            self._count("refused")
            raise
        sha256 = bundle.manifest.sha256
        known = [
            b for b in (self._pending, self._judging if self._trial_runner else None, self._incumbent) if b is not None
        ]
        if sha256 in (b.manifest.sha256 for b in known):
            return sha256
        if self._pending is not None:
            self._count("superseded")
        self._pending = bundle
        return sha256

    def reconsider(self, bundle: Bundle) -> None:
        """Judge a candidate again: it was accepted against a policy no longer in production. A newer one goes first."""
        if self._pending is None and self._trial_runner is None:
            self._pending = bundle
            self._count("restarted")

    def step(self, timeout_s: float) -> GateResult | None:
        """Go on with the trial for up to `timeout_s`, or prepare one; returns a verdict when there is one."""
        if self._trial_runner is None:
            self._refresh_sources()  # first: a class that begins to fail is a reason to wait
            if self._may_begin():
                self._begin()
        if self._trial_runner is None:
            self.prepares = (
                not self._is_cooling_down and self._scenario_pool.prepare()
            ) or self._scenario_pool.waiting > 0
            return None
        self._trial_runner.trial.preempted = self._pending is not None
        verdict = self._trial_runner.step(timeout_s)
        return None if verdict is None else self._finish(verdict)

    def _begin(self) -> None:
        bundle, self._pending = self._pending, None
        assert bundle is not None
        self._judging = bundle
        target_tasks = self._refresh_sources()
        for each in (self._incumbent, bundle):  # executors keep the latest few only
            assert each is not None
            sha256 = each.manifest.sha256
            self._executor.add_policy(sha256, each.to_bytes())
        trial = Trial(self._config.gate, target_tasks, self._scenario_pool.known, self._sent_back)
        self._trial_runner = TrialRunner(
            trial, self._scenario_pool, self._executor, sha256, self.incumbent_version, self._clock
        )

    def _finish(self, verdict: Verdict) -> GateResult:
        assert self._trial_runner is not None and self._judging is not None
        trial, bundle, is_void = self._trial_runner.trial, self._judging, self._trial_runner.is_void
        self._trial_runner = None
        self._count(str(verdict.decision))
        if verdict.decision is not Decision.ACCEPTED:
            self._sent_back += not is_void
            gate = self._config.gate
            self._cooldown_until_s = self._clock() + min(gate.cooldown_share * verdict.duration_s, gate.max_cooldown_s)
        else:
            self._scenario_pool.note(bundle.manifest.sha256, trial.achieved)
        report = TrialReport(
            verdict=verdict,
            candidate=bundle.manifest,
            target_tasks=trial.target_tasks,
            resolved=resolved_tasks(self.failures),
            pairs=tuple(trial.pairs),
            judged_ns=time.time_ns(),
        )
        path = report_path(self._folder, report)
        try:
            write_report(path, report)
        except StorageError as error:
            log.error("gate: %s; the verdict stands", error)
        return GateResult(verdict, bundle, path)

    def _refresh_sources(self) -> TargetTasks:
        if self._sources_of == self.failures.changes:
            return self._target_tasks
        self._sources_of = self.failures.changes
        before, self._target_tasks = self._target_tasks, target_tasks(self.failures)
        targets, resolved = self._target_tasks.classes, resolved_tasks(self.failures)
        if set(targets) - set(before.classes):
            self._warmup_ends_s = self._clock() + self._config.gate.warmup_s
        self._scenario_pool.set_source(Suite.TARGET, self._reported(targets), targets)
        known: ScenarioSource = TrainingScenarios(self._config.task)
        if learned := self._reported(resolved):
            known = ScenarioMixture([(known, 1.0 - RESOLVED_SHARE), (learned, RESOLVED_SHARE)])
        self._scenario_pool.set_source(Suite.REGRESSION, known, resolved)
        return self._target_tasks

    def _reported(self, classes: tuple[str, ...]) -> ScenarioSource | None:
        return reported_scenarios(self._config.task, self.failures, classes)

    def _count(self, name: str) -> None:
        self.counts = msgspec.structs.replace(self.counts, **{name: getattr(self.counts, name) + 1})
