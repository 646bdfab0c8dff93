"""CanaryController: which robot tries which version before all others. Its state is a directive in the registry.

Operators come first. A command that pins or resumes this robot, or a version for all, ends what it tries. A hold does
not: what it tries may still be rolled back, and never comes to the robot again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import Receipt
from floop_robot.deploy.canary import CanaryDecision, CanaryWatch
from floop_robot.deploy.deployment_monitor import FailingTasks, LiveStatistics, MonitorReport, Tally, WatchState
from floop_robot.deploy.registry import FLEET, Directive, LiveEpisode, Origin, Publication, Registry, VersionInfo
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.verdict import Verdict


class CanaryController:
    """At most one version on at most one robot (`deploy.canary`)."""

    def __init__(self, registry: Registry, config: DeployConfig, who: str) -> None:
        """`who` signs in the audit."""
        self._registry, self._config, self._who = registry, config, who
        self._watch: CanaryWatch | None = None

    @property
    def version(self) -> int:
        """The version that is tried; 0 while none is."""
        return self._watch.version if self._watch else 0

    @property
    def robot(self) -> str:
        """The robot that tries it; empty while none does."""
        return self._watch.robot if self._watch else ""

    def report(self) -> MonitorReport | None:
        """Where the watch stands; None while nothing is tried."""
        return self._watch.report() if self._watch else None

    def may_begin(self, live: LiveStatistics, now_ns: int) -> bool:
        """Whether the robot may try a version now, by what robots did so far.

        A robot that did no failing task within the last `canary_s` would show nothing in the next one either.
        """
        robot, since_ns = self._config.canary, now_ns - round(self._config.canary_s * 1e9)
        if not robot or self._watch or live.worked_on_failing_ns(robot) < since_ns:
            return False
        directives = self._registry.directive(robot), self._registry.directive(FLEET)
        return not any(each.fixed or each.drained for each in directives)

    def publication(self, bundle: Bundle, verdict: Verdict) -> Publication:
        """The candidate, for this robot alone."""
        return Publication(
            bundle=bundle,
            origin=Origin.CANARY,
            who=self._who,
            detail=f"for {self._config.canary} alone: {verdict.reason}",
            verdict=verdict,
            scope=self._config.canary,
        )

    def begin(self, info: VersionInfo, reference: Mapping[str, Tally], failing: FailingTasks) -> None:
        """Watch a version that was published for one robot (`CanaryWatch`)."""
        if (tries := self._directive()) is not None:
            self._watch = CanaryWatch(self._config, tries.scope, info, reference, failing)

    def forget(self) -> VersionInfo | None:
        """Watch nothing; returns what a robot tries, as the registry has it."""
        self._watch, tries = None, self._directive()
        return self._registry.version(tries.pin) if tries else None

    def restore(self, info: VersionInfo, state: WatchState) -> None:
        """Go on watching what a robot tries."""
        self.begin(info, state.reference, state.tasks)
        if self._watch is not None:
            self._watch.restore(state)

    def state(self) -> WatchState | None:
        """What `restore` takes; None while nothing is tried."""
        return self._watch.state() if self._watch else None

    def _directive(self) -> Directive | None:
        return next((each for each in self._registry.directives() if each.canary), None)

    def observe(self, episode: LiveEpisode, sha256: str) -> None:
        """Take in an episode on these weights, if it is this robot's on the version that it tries."""
        if self._watch and (episode.robot, sha256) == (self._watch.robot, self._watch.sha256):
            self._watch.observe(episode)

    def correct(self, episode: LiveEpisode, sha256: str) -> None:
        """As `observe`, for an episode that was taken in and is judged again."""
        if self._watch and (episode.robot, sha256) == (self._watch.robot, self._watch.sha256):
            self._watch.correct(episode)

    def report_harm(self, receipt: Receipt) -> None:
        """Go back when the version that is tried answered NaN."""
        if self._watch and receipt.fallback_version is not None and receipt.version == self._watch.version:
            self._watch.report_harm(receipt.detail)

    def decide(self, production: int, now_ns: int) -> tuple[CanaryDecision, str]:
        """What is to be published for all; a held or pinned fleet takes in no better version."""
        watch = self._watch
        if watch is None:
            return CanaryDecision.GO_ON, ""
        if production > watch.version or not self._registry.directive(watch.robot).canary:
            self.release(now_ns)  # cut off by a restart, or an operator decided about this robot
            return CanaryDecision.GO_ON, ""
        if watch.robot != self._config.canary:
            return CanaryDecision.BACK, f"deploy.canary does not name {watch.robot} any more"
        decision, reason = watch.decide(now_ns)
        fleet = self._registry.directive(FLEET)
        waits = decision is CanaryDecision.TO_ALL and fleet.fixed > 0
        return (CanaryDecision.GO_ON, "") if waits else (decision, reason)

    def release(self, now_ns: int) -> None:
        """Let the robot follow the fleet again, unless an operator holds it or has decided about it."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        directive = self._registry.directive(watch.robot)
        if directive.canary:
            released = Directive(directive.scope, hold=directive.hold, drained=directive.drained)
            what = f"{watch.robot} tries v{watch.version} no longer"
            self._registry.set_directive(released, self._who, what, now_ns)
