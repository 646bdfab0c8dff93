"""Validation outside a fleet: a policy's success on given scenarios, and the gate's trial against another policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_robot.bundle import Bundle, verify
from floop_robot.core import EpisodeJob, EpisodeOutcome, Executor
from floop_robot.gate.executor import InProcessExecutor
from floop_robot.gate.process_pool import ProcessPool
from floop_robot.gate.pybullet_worker import PyBulletRunner
from floop_robot.gate.rejected_weights import SAME_WEIGHTS
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.scenario_pool import PairedScenarioPool
from floop_robot.gate.seed_allocator import seeds_of_run
from floop_robot.gate.suites import Suite, mean_cycle_s
from floop_robot.gate.trial import Trial
from floop_robot.gate.trial_runner import TrialRunner
from floop_robot.services.import_zip import read_policy
from floop_robot.spec.config import GateConfig
from floop_robot.spec.errors import BundleRefused
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.tasks import get_task
from floop_robot.spec.verdict import Decision, Verdict
from floop_robot.stats.intervals import wilson

ProgressCallback = Callable[[int, int], None]
"""Called with episodes done and episodes in all."""


class ObjectClassResult(msgspec.Struct, frozen=True):
    """Success on one class of objects."""

    successes: int
    episodes: int


class PolicyEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """How a policy does on given scenarios."""

    successes: int
    episodes: int
    success: float
    interval: tuple[float, float]
    """95 % Wilson interval of the success."""
    mean_cycle_s: float | None
    """Mean simulated duration of its successes; None if there is none."""
    mean_steps: float
    classes: dict[str, ObjectClassResult]
    interventions: int
    limit_violations: int


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """What `floop validate` found."""

    task: str
    candidate: PolicyEvaluation
    against: PolicyEvaluation | None = None
    verdict: Verdict | None = None
    """The gate's, when there is a policy to compare with."""


class ValidationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to validate."""

    task: str
    robot: str = "panda"
    episodes: int = 200
    seed: int = 0
    workers: int = 1
    target_classes: tuple[str, ...] = ()
    """Object classes of the catalog on which the candidate should be better; empty: known tasks."""
    gate: GateConfig = GateConfig()


def load_policy(
    path: Path, task: str, robot: str = "panda", *, trust: bool = False, vecnormalize: Path | None = None
) -> Bundle:
    """Read a `.floop` bundle, or with `trust` a stable-baselines3 zip, and check that it fits; raises `FloopError`."""
    rules = get_task(task)
    bundle = read_policy(path, task, robot, trust=trust, vecnormalize=vecnormalize)
    try:
        verify(bundle, rules.spec, ids_of(rules, load_robot(robot)), where=f"{task} on {robot}")
    except BundleRefused as error:
        raise BundleRefused(f"{path} can't be used: {error}") from None
    return bundle


def evaluate(
    bundle: Bundle,
    scenarios: Sequence[Scenario],
    *,
    robot: str = "panda",
    workers: int = 1,
    on_progress: ProgressCallback | None = None,
) -> PolicyEvaluation:
    """Run the policy's mean actions through every scenario (task: the bundle's); `workers` > 1 uses processes."""
    with _executor(bundle.manifest.task, robot, workers) as executor:
        return evaluate_with(executor, bundle, scenarios, on_progress)


def evaluate_with(
    executor: Executor, bundle: Bundle, scenarios: Sequence[Scenario], on_progress: ProgressCallback | None = None
) -> PolicyEvaluation:
    """Like `evaluate`, on workers that are there already; raises `EpisodeFailed`."""
    policy = bundle.manifest.sha256
    executor.add_policy(policy, bundle.to_bytes())
    outcomes: list[EpisodeOutcome] = []
    # Only a few jobs ahead: in one process each runs as it is submitted, and `on_progress` is called between them.
    waiting = deque(executor.submit([EpisodeJob(policy, s) for s in scenarios[: 2 * executor.width]]))
    for scenario in (*scenarios[len(waiting) :], *[None] * len(waiting)):
        outcomes.append(waiting.popleft().result())
        if scenario is not None:
            waiting.extend(executor.submit([EpisodeJob(policy, scenario)]))
        if on_progress is not None:
            on_progress(len(outcomes), len(scenarios))
    return _evaluation(outcomes, scenarios)


def validate(
    candidate: Bundle, against: Bundle | None, plan: ValidationPlan, on_progress: ProgressCallback | None = None
) -> Validation:
    """Measure a candidate, and judge it against another policy if there is one, on scenarios for validation.

    `on_progress` is called while measuring; the trial that may follow takes a few seconds.
    """
    source = TrainingScenarios(plan.task, plan.target_classes) if plan.target_classes else TrainingScenarios(plan.task)
    scenarios = scenarios_of(source, Purpose.VALIDATION, plan.seed, plan.episodes)
    with _executor(plan.task, plan.robot, plan.workers) as executor:
        result = Validation(task=plan.task, candidate=evaluate_with(executor, candidate, scenarios, on_progress))
        if against is None:
            return result
        if against.manifest.sha256 == candidate.manifest.sha256:
            return msgspec.structs.replace(result, against=result.candidate, verdict=_same_weights(candidate, plan))
        measured = evaluate_with(executor, against, scenarios, on_progress)
        verdict = judge(executor, candidate, against, plan)
        return msgspec.structs.replace(result, against=measured, verdict=verdict)


def judge(executor: Executor, candidate: Bundle, incumbent: Bundle, plan: ValidationPlan) -> Verdict:
    """The gate's trial of two policies, on fresh pairs of the gate's seeds."""
    seeds = seeds_of_run(Purpose.GATE, plan.seed)
    scenario_pool = PairedScenarioPool(executor, lambda: next(seeds))
    for bundle in (candidate, incumbent):
        executor.add_policy(bundle.manifest.sha256, bundle.to_bytes())
    scenario_pool.set_incumbent(incumbent.manifest.sha256)
    scenario_pool.set_source(Suite.REGRESSION, TrainingScenarios(plan.task), ())
    if plan.target_classes:
        scenario_pool.set_source(Suite.TARGET, TrainingScenarios(plan.task, plan.target_classes), plan.target_classes)
    trial = Trial(plan.gate, TargetTasks(plan.target_classes))
    return TrialRunner(trial, scenario_pool, executor, candidate.manifest.sha256, incumbent.manifest.version).run()


def _same_weights(bundle: Bundle, plan: ValidationPlan) -> Verdict:
    """What becomes of a candidate that is the incumbent: no trial, and so no pair."""
    return Verdict(
        decision=Decision.INCONCLUSIVE,
        reason=SAME_WEIGHTS,
        candidate_sha256=bundle.manifest.sha256,
        incumbent_version=bundle.manifest.version,
        suites=(),
        seed=0,
        alpha=plan.gate.alpha,
        duration_s=0.0,
    )


@contextmanager
def _executor(task: str, robot: str, workers: int) -> Iterator[Executor]:
    executor: Executor
    if workers > 1:
        executor = ProcessPool(workers=workers, task=task, robot=robot)
    else:
        executor = InProcessExecutor(PyBulletRunner(task, robot))
    try:
        yield executor
    finally:
        executor.close()


def _evaluation(outcomes: Sequence[EpisodeOutcome], scenarios: Sequence[Scenario]) -> PolicyEvaluation:
    successes = sum(o.success for o in outcomes)
    by_class: dict[str, list[bool]] = {}
    for outcome, scenario in zip(outcomes, scenarios, strict=True):
        by_class.setdefault(scenario.object.object_class, []).append(outcome.success)
    return PolicyEvaluation(
        successes=successes,
        episodes=len(outcomes),
        success=successes / len(outcomes) if outcomes else 0.0,
        interval=wilson(successes, len(outcomes)),
        mean_cycle_s=mean_cycle_s(list(outcomes)) if successes else None,
        mean_steps=float(np.mean([o.steps for o in outcomes])) if outcomes else 0.0,
        classes={name: ObjectClassResult(sum(found), len(found)) for name, found in sorted(by_class.items())},
        interventions=sum(o.interventions for o in outcomes),
        limit_violations=sum(o.limit_violations for o in outcomes),
    )
