"""ErrorBudgets: what may be staked on candidates against one incumbent, by the tests that let a candidate pass."""

from __future__ import annotations

from floop_robot.gate.alpha_wealth import AlphaWealth
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import SuiteCounts
from floop_robot.gate.trial import Stakes, Trial
from floop_robot.spec.config import GateConfig

MAX_GROWTH = 4.0
"""A trial stakes at most this many times alpha on being better, 0.2 by default.

So a candidate's own pairs must multiply the stake by five at least, and one that is no better, after others that were,
is accepted with a chance of 0.2 at most. What guards known tasks and joint limits never wins back what it lost.
"""


class ErrorBudgets:
    """One for each test, of `gate.alpha` for all candidates together.

    While nothing fails, the regression test has `gate.alpha` in each trial: most candidates there are as good as the
    incumbent, and each costs a little of a budget until even a better one can hardly show that known tasks are kept.
    """

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self.improvement = AlphaWealth(config.alpha, MAX_GROWTH)
        self.regression, self.limits = (AlphaWealth(config.alpha, 1.0) for _ in range(2))

    def next_trial(self, target_tasks: TargetTasks, known: SuiteCounts | None) -> Trial:
        """The trial of the next candidate; `known`: what the incumbent achieved so far."""
        regression = self.regression.stake if target_tasks.classes else self._config.alpha
        stakes = Stakes(self.improvement.stake, regression, self.limits.stake)
        return Trial(self._config, target_tasks, known, stakes)

    def settle(self, trial: Trial) -> None:
        """A trial ended without an acceptance."""
        if (kept := trial.kept) is not None:
            self.improvement.settle(kept.improvement)
            self.regression.settle(kept.regression)
            self.limits.settle(kept.limits)
