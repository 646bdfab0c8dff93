"""FinalEvaluation: success of the shipped and the final policy on fresh scenarios of known and shifted tasks."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from floop_robot.bundle import Bundle
from floop_robot.demo.report import Rate
from floop_robot.gate.process_pool import ProcessPool
from floop_robot.sim.sim_world import evaluation_scenarios
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.scenario import Scenario
from floop_robot.train.validate import evaluate_with

SIMULATOR_SHARE = 0.4
"""Share of the scenarios that is also run without the robots' hidden parameters; for comparison a part is enough."""


class EvaluationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Success of both bundles on known and shifted tasks: in worlds like the robots', and in the gate's simulator."""

    shipped_old: Rate
    shipped_shifted: Rate
    final_old: Rate
    final_shifted: Rate
    simulator_shipped_old: Rate
    simulator_final_shifted: Rate


class FinalEvaluation:
    """Runs the episodes of both bundles on all cores."""

    def __init__(self, config: FloopConfig, shift: str, episodes: int) -> None:
        task, robots, seed = config.task, config.robot_names, config.seed
        few = round(episodes * SIMULATOR_SHARE)
        self._config = config
        self._old = evaluation_scenarios(task, None, robots, seed, episodes)
        self._shifted = evaluation_scenarios(task, shift, robots, seed, episodes)
        self._simulator_old = evaluation_scenarios(task, None, (), seed, few)
        self._simulator_shifted = evaluation_scenarios(task, shift, (), seed, few)

    def run(self, shipped: Bundle, final: Bundle, on_progress: Callable[[int, int], None]) -> EvaluationResult:
        """Measure everything; `on_progress` gets the number of episodes done and the total."""
        jobs: list[tuple[Bundle, list[Scenario]]] = [
            (shipped, self._old),
            (shipped, self._shifted),
            (final, self._old),
            (final, self._shifted),
            (shipped, self._simulator_old),
            (final, self._simulator_shifted),
        ]
        total, before = sum(len(scenarios) for _, scenarios in jobs), 0
        rates = []
        pool = ProcessPool(workers=os.cpu_count() or 1, task=self._config.task, robot=self._config.robot.model, nice=0)
        try:
            for bundle, scenarios in jobs:
                found = evaluate_with(pool, bundle, scenarios, _from(before, total, on_progress))
                rates.append(Rate(found.successes, found.episodes))
                before += len(scenarios)
        finally:
            pool.close()
        return EvaluationResult(
            shipped_old=rates[0],
            shipped_shifted=rates[1],
            final_old=rates[2],
            final_shifted=rates[3],
            simulator_shipped_old=rates[4],
            simulator_final_shifted=rates[5],
        )


def _from(start: int, total: int, on_progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
    return lambda done, _: on_progress(start + done, total)
