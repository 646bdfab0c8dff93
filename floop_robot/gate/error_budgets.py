"""ErrorBudgets: what may be staked on candidates against one incumbent, by the tests that let a candidate pass."""

from __future__ import annotations

import msgspec

from floop_robot.gate.alpha_wealth import AlphaWealth, new_wealth
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import SuiteCounts
from floop_robot.gate.trial import Stakes, Trial
from floop_robot.spec.config import GateConfig

MAX_GROWTH, MAX_STAKE = 4.0, 0.5
"""A trial stakes at most so many times alpha on being better, 0.2 by default, and never more than a half.

So a candidate's own pairs must multiply the stake by five at least, and one that is no better, after others that were,
is accepted with a chance of 0.2 at most. What guards known tasks and joint limits never wins back what it lost.
"""


class ErrorBudgets(msgspec.Struct):
    """One for each test, of `gate.alpha` for all candidates together.

    While nothing fails, the regression test has `gate.alpha` in each trial: most candidates there are as good as the
    incumbent, and each costs a little of a budget until even a better one can hardly show that known tasks are kept.
    """

    improvement: AlphaWealth
    regression: AlphaWealth
    limits: AlphaWealth

    def next_trial(self, config: GateConfig, target_tasks: TargetTasks, known: SuiteCounts | None) -> Trial:
        """The trial of the next candidate; `known`: what the incumbent achieved so far."""
        regression = self.regression.stake if target_tasks.classes else config.alpha
        stakes = Stakes(self.improvement.stake, regression, self.limits.stake)
        return Trial(config, target_tasks, known, stakes, self.improvement.trials)

    def settle(self, trial: Trial) -> None:
        """A trial ended without an acceptance."""
        if (kept := trial.kept) is not None:
            self.improvement.settle(kept.improvement)
            self.regression.settle(kept.regression)
            self.limits.settle(kept.limits)


def new_budgets(alpha: float) -> ErrorBudgets:
    """Budgets before the first trial."""
    improvement = new_wealth(alpha, min(MAX_GROWTH * alpha, MAX_STAKE))
    return ErrorBudgets(improvement, new_wealth(alpha, alpha), new_wealth(alpha, alpha))
