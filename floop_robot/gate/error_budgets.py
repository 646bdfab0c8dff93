"""ErrorBudgets: what may be staked on candidates against one incumbent, by the tests that let a candidate pass."""

from __future__ import annotations

from floop_robot.gate.alpha_wealth import AlphaWealth
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import SuiteCounts
from floop_robot.gate.trial import Trial
from floop_robot.spec.config import GateConfig


class ErrorBudgets:
    """One of the improvement test and one of the limits test, each of `gate.alpha` for all candidates together."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self.improvement, self.limits = AlphaWealth(config.alpha), AlphaWealth(config.alpha)

    def next_trial(self, target_tasks: TargetTasks, known: SuiteCounts | None) -> Trial:
        """The trial of the next candidate; `known`: what the incumbent achieved so far."""
        better, limits = self.improvement, self.limits
        return Trial(self._config, target_tasks, known, better.stake, better.preempted, limits.stake)

    def settle(self, trial: Trial) -> None:
        """A trial ended without an acceptance.

        Only bets that were made are paid: a candidate that did not get so far costs nothing. Anyone could send many.
        """
        if (kept := trial.kept_alpha) is not None:
            self.improvement.settle(trial.alpha, kept)
        if (kept := trial.kept_limits_alpha) is not None:
            self.limits.settle(trial.limits_alpha, kept)
        self.improvement.preempted += trial.preempted
