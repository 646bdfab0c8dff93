"""Gate: judges one candidate at a time against the incumbent, and prepares pairs while it is idle. No sockets.

It does not verify candidates: the fleet manager does, before anything may be published, and the robot before it acts.
Here a policy only runs in the simulator, where unfit weights fail their episodes.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from floop_envs.domain_randomization import DomainRandomization
from floop_envs.scenarios import MODELED, TrainingScenarios
from floop_envs.seeds import Purpose
from floop_robot.bundle import Bundle
from floop_robot.bundle.verify import require_contract
from floop_robot.core import Executor, ScenarioSource
from floop_robot.gate.rejected_weights import SAME_WEIGHTS
from floop_robot.gate.report import TrialReport
from floop_robot.gate.report_log import ReportLimits, ReportLog
from floop_robot.gate.reported_tasks import (
    TargetTasks,
    reported_scenarios,
    resolved_tasks,
    target_tasks,
    unexplained_tasks,
)
from floop_robot.gate.scenario_pool import PairedScenarioPool, ScenarioMixture
from floop_robot.gate.seed_allocator import SeedAllocator
from floop_robot.gate.suites import Suite
from floop_robot.gate.trial import Trial
from floop_robot.gate.trial_history import TrialHistory
from floop_robot.gate.trial_runner import TrialRunner
from floop_robot.monitor.failure_monitor import FailureMonitor
from floop_robot.monitor.fleet_summary import FleetSummary
from floop_robot.monitor.robot_fits import RobotFits
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import StorageError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.spec.verdict import Decision, Verdict
from floop_robot.spec.wall_clock import wall_clock_ns
from floop_robot.stream.codec import Block

log = logging.getLogger(__name__)

WAITS = "nothing fails on the robots: it waits until something does, or a newer one takes its place"
STEADY_OFFERS_S = 20.0
"""Two candidates within this time mean that the next one is due."""
UNSOLVED_SHARE = 0.01
"""Share of the time that the same classes have failed for which it rests after a candidate that was not accepted."""
SOON_S = 60.0
"""So soon after a class began to fail, candidates follow each other as fast as they can."""
LONGEST_REST_S = 600.0
"""Longest such rest."""
RESOLVED_SHARE = 0.25
"""Share of the regression suite on classes learned since the shipped policy."""


class GateResult(msgspec.Struct, frozen=True):
    """A verdict, its candidate and its report."""

    verdict: Verdict
    bundle: Bundle
    report: TrialReport


class Offer(msgspec.Struct, frozen=True):
    """What becomes of a candidate that was offered."""

    sha256: str
    taken: bool = True
    """Whether it will be judged, unless a newer one takes its place."""
    reason: str = ""
    """Why it will not, or not now."""


class GateCounts(msgspec.Struct, frozen=True):
    """What the gate did since it started."""

    accepted: int = 0
    rejected: int = 0
    inconclusive: int = 0
    superseded: int = 0
    """Candidates that a newer one replaced before their trial began."""
    restarted: int = 0
    """Trials begun again because the incumbent changed."""
    refused: int = 0
    """Messages without a usable bundle."""
    not_judged: int = 0
    """Candidates whose weights are the incumbent's, or were rejected against it already."""


class Gate:
    """Owned by one thread, which calls `step` in a loop."""

    def __init__(self, config: FloopConfig, executor: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: steady seconds, by which the gate rests between trials."""
        self._config, self._executor, self._clock = config, executor, clock
        folder = Path(config.run_dir) / "gate"
        limits = ReportLimits(config.storage.reports_mb * 1e6, config.storage.reports_days * 86400.0)
        self._reports = ReportLog(folder, limits)
        self._task = get_task(config.task).spec
        self._ids = ids_of(get_task(config.task), load_robot(config.robot.model))
        self._seeds = SeedAllocator(folder / "next_seed", Purpose.GATE, config.seed)
        self._scenario_pool = PairedScenarioPool(executor, self._seeds.next)
        self.failures = FailureMonitor()
        """What fails on the robots."""
        self.fits = RobotFits()
        """What is known of the robots' worlds."""
        self.counts = GateCounts()
        self._incumbent: Bundle | None = None
        self._pending: Bundle | None = None
        self._judging: Bundle | None = None
        self._trial_runner: TrialRunner | None = None
        self._target_tasks, self._suites_at = TargetTasks(), (-1, -1)
        self._cooldown_until_s = 0.0
        """End of the rest after a candidate that was not accepted; another incumbent ends it, too."""
        self._failing_since_s = clock()
        """Since when the same classes fail, or none does."""
        self._offered_s: deque[float] = deque(maxlen=2)
        """When the latest two candidates came."""
        self._history = TrialHistory(folder / "history.json", config.gate.alpha)
        """Budgets are kept by failing classes; these can be simulated: few.

        Not by robots: they begin and cease to fail one by one, and each set of them would bring another budget.
        """
        self._setting: tuple[str, ...] = ()
        """What trials are about, and in which worlds."""
        self.prepares = False
        """Whether the last idle `step` prepared pairs."""

    @property
    def incumbent_version(self) -> int:
        """Version that candidates are compared with; 0 while unknown."""
        return self._incumbent.manifest.version if self._incumbent else 0

    @property
    def busy(self) -> bool:
        """Whether a trial is running or can begin."""
        return self._trial_runner is not None or self._may_begin()

    @property
    def target_tasks(self) -> TargetTasks:
        """What trials are to improve just now."""
        return self._target_tasks

    def set_incumbent(self, bundle: Bundle) -> None:
        """Compare with this policy from now on; raises `ContractMismatch`."""
        if self._incumbent is not None and bundle.manifest.version == self._incumbent.manifest.version:
            return
        require_contract(bundle.manifest, self._task, self._ids, "the gate")
        if self._incumbent is None or bundle.manifest.sha256 != self._incumbent.manifest.sha256:
            # The same weights under another number are no new incumbent.
            self._history.begin(bundle.manifest.sha256)
        self._incumbent, self._cooldown_until_s = bundle, 0.0
        self._executor.add_policy(bundle.manifest.sha256, bundle.to_bytes())
        if self._trial_runner is not None:
            self._trial_runner.cancel()  # first: the pairs that it gives back are the former incumbent's
            self._trial_runner = None
            self._pending = self._pending or self._judging
            self._count("restarted")
        if self._pending is not None and self._why_not(self._pending.manifest.sha256):
            self._pending = None
            self._count("not_judged")
        self._scenario_pool.set_incumbent(bundle.manifest.sha256)

    def offer(self, blob: bytes) -> Offer:
        """Take in a candidate; the newest wins. Raises `BundleRefused` or `ContractMismatch`.

        Weights that are the incumbent's, or were rejected against it while the same classes failed, are not taken.
        """
        try:
            bundle = Bundle.from_bytes(blob, "the candidate")
            require_contract(bundle.manifest, self._task, self._ids, "the gate")
        except Exception:
            self._count("refused")
            raise
        sha256 = bundle.manifest.sha256
        if reason := self._why_not(sha256):
            self._count("not_judged")
            return Offer(sha256, False, reason)
        known = (self._pending, self._judging if self._trial_runner else None)
        if sha256 in (each.manifest.sha256 for each in known if each is not None):
            return Offer(sha256)
        if self._pending is not None and self._has_work:
            self._count("superseded")
        self._pending = bundle
        self._offered_s.append(self._clock())
        return Offer(sha256, True, "" if self._has_work else WAITS)

    def _why_not(self, sha256: str) -> str:
        """Why these weights are not judged; empty when they are."""
        if self._incumbent is not None and sha256 == self._incumbent.manifest.sha256:
            return f"{SAME_WEIGHTS} (v{self.incumbent_version} in production)"
        reason = self._history.rejected.reason(self._setting, sha256)
        return reason and f"these weights were rejected against v{self.incumbent_version} already: {reason}"

    def take(self, block: Block) -> None:
        """Take in a block of the journal."""
        self.failures.take(block.info, block.ends, block.labels)
        self.fits.take(block.info, block.events)

    def reconsider(self, bundle: Bundle) -> None:
        """Judge a candidate again that was accepted against a former incumbent. A newer one goes first."""
        if self._pending is None and self._trial_runner is None and not self._why_not(bundle.manifest.sha256):
            self._pending = bundle
            self._count("restarted")

    def begin_with(self, summary: FleetSummary, _: int = 0) -> None:
        """Take over what the journal says of the fleet, instead of what was known."""
        self.failures, self.fits, self._suites_at = summary.failures, summary.fits, (-1, -1)

    def step(self, timeout_s: float) -> GateResult | None:
        """Go on with the trial for up to `timeout_s`, or prepare one; returns a verdict when there is one."""
        if self._trial_runner is None:
            self._refresh_suites()
            if self._may_begin():
                self._begin()
        if self._trial_runner is None:
            begins_pair = not self._is_resting and self._scenario_pool.prepare()
            self.prepares = begins_pair or self._scenario_pool.waiting > 0
            return None
        self._trial_runner.trial.newer_is_due = self._pending is not None or self._newer_is_due
        verdict = self._trial_runner.step(timeout_s)
        return None if verdict is None else self._finish(verdict)

    def _may_begin(self) -> bool:
        is_ready = self._pending is not None and self._incumbent is not None and not self._is_resting
        return is_ready and self._has_work

    @property
    def _has_work(self) -> bool:
        """Whether anything fails. While nothing does, the newest candidate waits."""
        return bool(self.failures.failing) or self._config.gate.trials_while_healthy

    @property
    def _is_resting(self) -> bool:
        return self._clock() < self._cooldown_until_s

    @property
    def _newer_is_due(self) -> bool:
        """Whether candidates keep coming, as from a learner at work."""
        return len(self._offered_s) == 2 and self._clock() - self._offered_s[0] < STEADY_OFFERS_S

    def _begin(self) -> None:
        candidate, incumbent = self._pending, self._incumbent
        assert candidate is not None and incumbent is not None
        self._judging, self._pending = candidate, None
        for each in (incumbent, candidate):  # executors keep the latest few only
            self._executor.add_policy(each.manifest.sha256, each.to_bytes())
        self._trial_runner = TrialRunner(
            self._history.budgets(self._target_tasks.classes).next_trial(
                self._config.gate, self._target_tasks, self._scenario_pool.known
            ),
            self._scenario_pool,
            self._executor,
            candidate.manifest.sha256,
            self.incumbent_version,
            self._clock,
        )

    def _finish(self, verdict: Verdict) -> GateResult:
        assert self._trial_runner is not None and self._judging is not None
        runner, bundle = self._trial_runner, self._judging
        self._trial_runner = None
        self._count(str(verdict.decision))
        if verdict.decision is Decision.ACCEPTED:
            self._scenario_pool.note(bundle.manifest.sha256, runner.trial.achieved)
        else:
            self._history.budgets(runner.trial.target_tasks.classes).settle(runner.trial)
            if verdict.decision is Decision.REJECTED:
                self._history.rejected.add(self._setting, bundle.manifest.sha256, verdict.reason)
            self._history.store()
            self._cooldown_until_s = self._clock() + self._rest_s(verdict.duration_s)
        return GateResult(verdict, bundle, self._report(runner.trial, bundle, verdict))

    def _rest_s(self, duration_s: float) -> float:
        """None while tasks began to fail lately: the loop waits for the next trial.

        Longer, the longer the same classes fail: what no candidate achieved in a day is not tried every second.
        """
        gate = self._config.gate
        if not self._target_tasks.classes:
            return min(gate.cooldown_share * duration_s, gate.max_cooldown_s)
        unsolved_s = self._clock() - self._failing_since_s
        return max(0.0, min(UNSOLVED_SHARE * (unsolved_s - SOON_S), LONGEST_REST_S))

    def _report(self, trial: Trial, bundle: Bundle, verdict: Verdict) -> TrialReport:
        report = TrialReport(
            verdict=verdict,
            candidate=bundle.manifest,
            target_tasks=trial.target_tasks,
            resolved=resolved_tasks(self.failures),
            pairs=tuple(trial.pairs),
            judged_ns=wall_clock_ns(),
        )
        try:
            self._reports.append(report)
        except StorageError as error:
            log.error("gate: %s; the verdict stands", error)
        return report

    def _refresh_suites(self) -> None:
        """Draw the suites from what robots reported last."""
        if self._suites_at == (now := (self.failures.changes, self.fits.changes)):
            return
        self._suites_at = now
        before = self._target_tasks
        # Without a canary there is nobody else to ask about failures that no fit explains.
        unexplained = unexplained_tasks(self.failures, self.fits) if self._config.deploy.canary else ()
        self._target_tasks = target_tasks(self.failures, MODELED.difference(unexplained))
        targets, resolved = self._target_tasks, resolved_tasks(self.failures)
        self._setting = (*targets.classes, *self._worlds())
        if (targets.classes, targets.without_model) != (before.classes, before.without_model):
            self._failing_since_s, self._cooldown_until_s = self._clock(), 0.0
        self._scenario_pool.set_source(Suite.TARGET, self._reported(targets.classes), (*targets.names, *self._worlds()))
        known: ScenarioSource = DomainRandomization(TrainingScenarios(self._config.task))
        if learned := self._reported(resolved):
            known = ScenarioMixture([(known, 1.0 - RESOLVED_SHARE), (learned, RESOLVED_SHARE)])
        self._scenario_pool.set_source(Suite.REGRESSION, known, (*resolved, *self._worlds()) if resolved else ())

    def _worlds(self) -> tuple[str, ...]:
        """Changes when a robot's world becomes known: pairs prepared before are of another."""
        return (f"fit {self.fits.changes}",) if self.fits.changes else ()

    def _reported(self, classes: tuple[str, ...]) -> ScenarioSource | None:
        """Each in a world of its own, as explorers draw them: no robot is exactly like the simulator."""
        reported = reported_scenarios(self._config.task, self.failures, classes, self.fits)
        return DomainRandomization(reported, self.fits.worlds) if reported else None

    def _count(self, name: str) -> None:
        self.counts = msgspec.structs.replace(self.counts, **{name: getattr(self.counts, name) + 1})
