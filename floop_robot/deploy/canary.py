"""CanaryWatch: does a version do better on the one robot that tries it than the fleet's version does? No clock.

For what no simulator shows. The episodes of that robot alone count, with the tests of `DeploymentMonitor`:

* **To all**: on every failing class, the anytime-valid lower bound (1 − α) of its success is above the upper bound
  (Clopper-Pearson, 1 − α/2) of the fleet's version. And nothing suggests that it does worse on any other class.
* **Back**: evidence (2/α) that it does worse, or no result in time. Then the robot gets the fleet's version again.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from floop_robot.deploy.deployment_monitor import (
    DeploymentMonitor,
    FailingTasks,
    MonitorDecision,
    MonitorReport,
    Tally,
    WatchState,
)
from floop_robot.deploy.registry import LiveEpisode, VersionInfo
from floop_robot.spec.config import DeployConfig
from floop_robot.stats.intervals import clopper_pearson_lower_bound
from floop_robot.stats.sequential_tests import is_shown_above


class CanaryDecision(enum.StrEnum):
    """What is to be done with a version that one robot tries."""

    GO_ON = "go on"
    TO_ALL = "to all"
    BACK = "back"


class CanaryWatch:
    """One version on one robot, compared with what the fleet's version achieved."""

    def __init__(
        self,
        config: DeployConfig,
        robot: str,
        info: VersionInfo,
        reference: Mapping[str, Tally],
        failing: FailingTasks,
    ) -> None:
        """`reference`: `LiveStatistics.recent` of the fleet's weights; `failing`: what fails now."""
        self.robot, self.version, self.sha256 = robot, info.version, info.sha256
        self._monitor = DeploymentMonitor(config, info.version, reference, failing)
        self._alpha, self._since_ns = config.alpha, info.published_ns
        self._until_ns = self._since_ns + round(config.canary_s * 1e9)
        self._bars = {
            name: 1.0 - clopper_pearson_lower_bound(tally.episodes - tally.successes, tally.episodes, config.alpha / 2)
            for name, tally in reference.items()
        }

    def observe(self, episode: LiveEpisode) -> None:
        """Take in an episode of the robot on this version's weights."""
        self._monitor.observe(episode)

    def correct(self, episode: LiveEpisode) -> None:
        """An episode that was taken in was judged again."""
        self._monitor.correct(episode)

    def state(self) -> WatchState:
        """What `restore` takes."""
        return self._monitor.state()

    def restore(self, state: WatchState) -> None:
        """Go on where another one was, which began with the same reference and failing tasks."""
        self._monitor.restore(state)

    def report_harm(self, reason: str) -> None:
        """Go back for another reason than episodes."""
        self._monitor.report_harm(reason)

    def report(self) -> MonitorReport:
        """Where it stands."""
        return self._monitor.report()

    def decide(self, now_ns: int) -> tuple[CanaryDecision, str]:
        """What the evidence says at `now_ns`, and why."""
        report = self.report()
        if report.decision is MonitorDecision.ROLL_BACK:
            return CanaryDecision.BACK, f"worse on {self.robot}: {report.reason}"
        failing = [each for each in report.classes if each.failing]
        counts = ", ".join(
            f"{each.tally.successes} of {each.tally.episodes} on {each.object_class} "
            f"(before: {each.reference.successes} of {each.reference.episodes})"
            for each in failing
        )
        is_better = all(
            is_shown_above(each.tally.successes, each.tally.episodes, self._bars[each.object_class], self._alpha)
            for each in failing
        )
        if failing and is_better and not self._monitor.is_suspect:
            return CanaryDecision.TO_ALL, f"better on {self.robot}: {counts}"
        if not self._since_ns <= now_ns < self._until_ns:  # also when it began by a wrong clock
            return CanaryDecision.BACK, f"not shown to be better on {self.robot} in time: {counts or 'nothing failed'}"
        return CanaryDecision.GO_ON, ""
