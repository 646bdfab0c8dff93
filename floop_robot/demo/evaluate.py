"""Final figures: shipped and final bundle on the same old and shifted scenarios, never used for anything before."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from floop_robot.bundle import Bundle
from floop_robot.demo.report import Rate
from floop_robot.gate.executor import ProcessPool
from floop_robot.sim.sim_world import evaluation_work
from floop_robot.train.validate import evaluate_with
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.scenario import Scenario

TWIN_SHARE = 0.4
"""The twin's success is only compared with, so fewer scenarios do."""


class Evaluated(msgspec.Struct, frozen=True, kw_only=True):
    """Success of two bundles on two kinds of work, in the robots' worlds; and in the twin."""

    shipped_old: Rate
    shipped_shifted: Rate
    final_old: Rate
    final_shifted: Rate
    twin_shipped_old: Rate
    twin_final_shifted: Rate


class Evaluation:
    """Runs episodes of both bundles over all cores."""

    def __init__(self, config: FloopConfig, shift: str, episodes: int) -> None:
        task, robots, seed = config.task, config.robot_names, config.seed
        few = round(episodes * TWIN_SHARE)
        self._config = config
        self._old = evaluation_work(task, None, robots, seed, episodes)
        self._shifted = evaluation_work(task, shift, robots, seed, episodes)
        self._twin_old = evaluation_work(task, None, (), seed, few)
        self._twin_shifted = evaluation_work(task, shift, (), seed, few)

    def run(self, shipped: Bundle, final: Bundle, watch: Callable[[int, int], None]) -> Evaluated:
        """Measure everything; `watch` sees episodes done and in all."""
        jobs: list[tuple[Bundle, list[Scenario]]] = [
            (shipped, self._old),
            (shipped, self._shifted),
            (final, self._old),
            (final, self._shifted),
            (shipped, self._twin_old),
            (final, self._twin_shifted),
        ]
        total, before = sum(len(scenarios) for _, scenarios in jobs), 0
        rates = []
        pool = ProcessPool(
            workers=os.cpu_count() or 1, task=self._config.task, robot=self._config.robot.model, nice=0
        )
        try:
            for bundle, scenarios in jobs:
                found = evaluate_with(pool, bundle, scenarios, _from(before, total, watch))
                rates.append(Rate(found.successes, found.episodes))
                before += len(scenarios)
        finally:
            pool.close()
        return Evaluated(
            shipped_old=rates[0],
            shipped_shifted=rates[1],
            final_old=rates[2],
            final_shifted=rates[3],
            twin_shipped_old=rates[4],
            twin_final_shifted=rates[5],
        )


def _from(start: int, total: int, watch: Callable[[int, int], None]) -> Callable[[int, int], None]:
    return lambda done, _: watch(start + done, total)
