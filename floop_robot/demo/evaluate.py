"""FinalEvaluation: success of the shipped and the final policy on fresh scenarios of known and shifted tasks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import msgspec

from floop_robot.bundle import Bundle
from floop_robot.core import EpisodeJob, EpisodeOutcome, Executor
from floop_robot.demo.report import Rate
from floop_robot.gate.process_pool import ProcessPool
from floop_robot.sim.sim_world import SimWorld, evaluation_scenarios
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.cores import usable_cores
from floop_robot.spec.scenario import Scenario

MEASURE_S = 28.0
"""No scenario is begun after this time; what is under way ends within 2 s on a machine of the usual speed."""
MIN_SCENARIOS = 20
"""So many are measured however long they take."""


class EvaluationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Success of both bundles on the same known and shifted tasks, in worlds like the robots'."""

    shipped_old: Rate
    shipped_shifted: Rate
    final_old: Rate
    final_shifted: Rate
    known_lost: int
    """Known scenarios where only the shipped policy succeeded."""
    known_gained: int
    """Known scenarios where only the final policy succeeded."""


class ScenarioOutcome(msgspec.Struct, frozen=True):
    """Whether each policy succeeded on the known task and on the shifted one of the same number."""

    shipped_old: bool
    final_old: bool
    shipped_shifted: bool
    final_shifted: bool


class FinalEvaluation:
    """Runs the episodes of both bundles on all cores, scenario by scenario, until all are done or time is over."""

    def __init__(self, config: FloopConfig, world: SimWorld, count: int, measure_s: float = MEASURE_S) -> None:
        """`world`: the shifted one; known tasks are measured on all robots, shifted ones on those that it concerns.

        `count`: most scenarios; `measure_s`: time after which none is begun.
        """
        task, robots, seed = config.task, config.robot_names, config.seed
        self._config, self._measure_s = config, measure_s
        shifted = world.shifted_robots(robots)
        self._old = evaluation_scenarios(task, None, robots, seed, count, uncorrected=shifted)
        self._shifted = evaluation_scenarios(task, world.shift, shifted, seed, count)

    def run(self, shipped: Bundle, final: Bundle, on_progress: Callable[[int, int], None]) -> EvaluationResult:
        """Measure; `on_progress` gets the number of scenarios done and the most there may be."""
        ends_s = time.monotonic() + self._measure_s
        pool = ProcessPool(workers=usable_cores(), task=self._config.task, robot=self._config.robot.model, nice=0)
        outcomes = []
        try:
            for bundle in (shipped, final):
                pool.add_policy(bundle.manifest.sha256, bundle.to_bytes())
            policies = shipped.manifest.sha256, final.manifest.sha256
            for outcome in self._outcomes(pool, *policies, ends_s):
                outcomes.append(outcome)
                on_progress(len(outcomes), len(self._old))
        finally:
            pool.close()
        return _result(outcomes)

    def _outcomes(self, executor: Executor, shipped: str, final: str, ends_s: float) -> Iterator[ScenarioOutcome]:
        """Outcomes in the order of the scenarios, so that those measured never depend on how long they take."""
        waiting: deque[list[Future[EpisodeOutcome]]] = deque()
        for begun, pair in enumerate(zip(self._old, self._shifted, strict=True)):
            if begun >= MIN_SCENARIOS and time.monotonic() > ends_s:
                break
            waiting.append(executor.submit(_jobs(pair, shipped, final)))
            if len(waiting) > executor.width:  # enough to keep every worker busy
                yield _outcome(waiting.popleft())
        while waiting:
            yield _outcome(waiting.popleft())


def _jobs(pair: tuple[Scenario, Scenario], shipped: str, final: str) -> list[EpisodeJob]:
    return [EpisodeJob(policy, scenario) for scenario in pair for policy in (shipped, final)]


def _outcome(futures: list[Future[EpisodeOutcome]]) -> ScenarioOutcome:
    return ScenarioOutcome(*(future.result().success for future in futures))


def _result(outcomes: list[ScenarioOutcome]) -> EvaluationResult:
    def rate(name: str) -> Rate:
        return Rate(sum(getattr(outcome, name) for outcome in outcomes), len(outcomes))

    return EvaluationResult(
        shipped_old=rate("shipped_old"),
        shipped_shifted=rate("shipped_shifted"),
        final_old=rate("final_old"),
        final_shifted=rate("final_shifted"),
        known_lost=sum(o.shipped_old and not o.final_old for o in outcomes),
        known_gained=sum(o.final_old and not o.shipped_old for o in outcomes),
    )
