"""ErrorBudgets: what may be staked on candidates against one incumbent, by the tests that let a candidate pass."""

from __future__ import annotations

from floop_robot.gate.alpha_wealth import AlphaWealth
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import SuiteCounts
from floop_robot.gate.trial import Stakes, Trial
from floop_robot.spec.config import GateConfig


class ErrorBudgets:
    """One for each test, of `gate.alpha` for all candidates together.

    While nothing fails, the regression test has `gate.alpha` in each trial: most candidates there are as good as the
    incumbent, and each costs a little of a budget until even a better one can hardly show that known tasks are kept.
    """

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self.improvement, self.regression, self.limits = (AlphaWealth(config.alpha) for _ in range(3))

    def next_trial(self, target_tasks: TargetTasks, known: SuiteCounts | None) -> Trial:
        """The trial of the next candidate; `known`: what the incumbent achieved so far."""
        regression = self.regression.stake if target_tasks.classes else self._config.alpha
        stakes = Stakes(self.improvement.stake, regression, self.limits.stake)
        return Trial(self._config, target_tasks, known, stakes, self.improvement.preempted)

    def settle(self, trial: Trial) -> None:
        """A trial ended without an acceptance."""
        staked, kept = trial.stakes, trial.kept
        self.improvement.settle(staked.improvement, kept.improvement)
        self.limits.settle(staked.limits, kept.limits)
        if trial.target_tasks.classes:
            self.regression.settle(staked.regression, kept.regression)
        self.improvement.preempted += trial.preempted
