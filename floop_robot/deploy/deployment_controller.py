"""DeploymentController: state machine of promotion and rollback. No sockets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import msgspec

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import Announcement, Receipt
from floop_robot.deploy.canary import CanaryDecision
from floop_robot.deploy.canary_controller import CanaryController
from floop_robot.deploy.controller_state import ControllerState
from floop_robot.deploy.deployment_monitor import (
    DeploymentMonitor,
    LiveStatistics,
    MonitorDecision,
    MonitorReport,
)
from floop_robot.deploy.lineage import first_of_watch, original, version_before
from floop_robot.deploy.registry import (
    FLEET,
    LEARNED,
    PRODUCTION,
    CandidateInfo,
    CandidateState,
    Correction,
    JournalPosition,
    LiveEpisode,
    LiveLabel,
    Origin,
    Publication,
    Registry,
    VersionInfo,
)
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.errors import StorageError
from floop_robot.spec.verdict import Decision, Verdict

MANAGER_NAME = "fleet manager"
"""Signs what no person decided, in the audit."""
SUMMARY_EPISODES = 500
"""Episodes after which what was counted is stored: a start, a label or a refused order counts no more again."""
_WATCHED = (*LEARNED, Origin.PUSH)
PROVEN_EPISODES = 10
"""Live episodes after which a version of the gate counts as proven, if it was not seen to do worse by then."""
_STATES = {Decision.REJECTED: CandidateState.REJECTED, Decision.INCONCLUSIVE: CandidateState.INCONCLUSIVE}


class DeploymentController:
    """Publishes versions and watches the one in production. All of its state is rebuilt from the registry."""

    def __init__(self, registry: Registry, config: DeployConfig, since_ns: int = 0) -> None:
        """`since_ns`: when robots' own counts begin."""
        self.registry, self._config, self._since_ns = registry, config, since_ns
        self._weights = registry.weights()
        self._announcements: list[Announcement] = []
        self._watch: DeploymentMonitor | None = None
        self._watched_since_ns = 0
        self.canary = CanaryController(registry, config, MANAGER_NAME)
        self._promoted_at = 0
        """How many episodes were counted when the watched version deserved confirmation; 0: not yet."""
        self._confirmed = set(registry.telemetry.confirmed())
        self._shown = registry.telemetry.shown()
        self._may_wait = True  # look once after a restart
        self._watched = (0, 0)
        """Numbers of the first and the last episode that the watch took in."""
        self._summarized = 0
        """Number of the last episode that the stored summary holds."""
        self._rebuild()
        self._needs_recount = False
        """Whether stored episodes are not counted yet."""
        with contextlib.suppress(StorageError):  # a full disk: counted again at the next start
            self._store_summary_if_due()

    @property
    def production(self) -> int:
        """The version in production; 0 before the baseline."""
        return self.registry.alias(PRODUCTION)

    @property
    def newest(self) -> int:
        """The highest number of any version; 0 before the baseline."""
        return max(self._weights, default=0)

    def take_announcements(self) -> list[Announcement]:
        """What must be broadcast since the last call."""
        out, self._announcements = self._announcements, []
        return out

    def monitor_report(self) -> MonitorReport | None:
        """Where the watch of the version in production stands; None when it isn't watched."""
        return self._watch.report() if self._watch else None

    def watched_s(self, now_ns: int) -> float:
        """How long the version in production has been watched."""
        if self._watch is None:
            return 0.0
        passed_ns = now_ns - self._watched_since_ns
        return passed_ns * 1e-9 if passed_ns >= 0 else self._config.watch_s  # by a wrong clock: nobody waits for that

    @property
    def version_count(self) -> int:
        """How many versions there are."""
        return len(self._weights)

    def weights_of(self, version: int) -> str:
        """Name of a version's policy (`Manifest.sha256`); empty for an unknown one."""
        return self._weights.get(version, "")

    def publish(self, publication: Publication, now_ns: int) -> VersionInfo:
        """Store and announce a version; watch it if its weights are new in production."""
        replaced = self.weights_of(self.production)
        is_for_all = publication.scope == FLEET
        with self.registry.transaction():
            info = self.registry.publish(publication, now_ns)
            if is_for_all and info.origin is Origin.ROLLBACK:
                self._roll_back_held(info, replaced, now_ns)
        self._weights[info.version] = info.sha256
        if is_for_all:
            self.canary.release(now_ns)  # first: so that this robot hears of the version, too
        self._announce(info, () if is_for_all else (publication.scope,))
        # The same weights under another version stay watched as before.
        if is_for_all and info.sha256 != replaced:
            self._begin_watch(info)
        return info

    def _roll_back_held(self, info: VersionInfo, replaced: str, now_ns: int) -> None:
        """Take held robots along, unless they have these bytes already or the rollback would be an update for them."""
        goes_to = original(self.registry, info.version).version
        for robot in self.registry.directives():
            weights = self.weights_of(robot.hold)
            if not robot.hold or robot.scope == FLEET or weights == info.sha256:
                continue
            # The same weights may have been pushed again, under a later number: that one is rolled back.
            has = original(self.registry, info.replaces if weights == replaced else robot.hold).version
            if has > goes_to:
                what = f"rolled back {robot.scope}, held on v{robot.hold}, to v{info.version}"
                self.registry.set_directive(msgspec.structs.replace(robot, hold=info.version), info.who, what, now_ns)

    def submit(self, bundle: Bundle, verdict: Verdict, who: str, now_ns: int) -> tuple[CandidateState, int, bool]:
        """Take in a judged candidate; returns state, version and whether it was new."""
        state = _STATES.get(verdict.decision)
        if verdict.canary and self.canary.may_begin(self.record, now_ns) and self._judged_against_production(verdict):
            state = CandidateState.CANARY
        if state is None:
            state = CandidateState.WAITING if self._judged_against_production(verdict) else CandidateState.STALE
        if state is CandidateState.CANARY:
            info, new = self._submit_to_canary(bundle, verdict, who, now_ns)
        else:
            info, new = self.registry.submit(bundle, verdict, state, who, now_ns)
        if new and state is CandidateState.WAITING:
            self._may_wait = True
            self.tick(now_ns)
        info = self.registry.candidate(info.sha256, verdict) or info
        return info.state, info.version, new

    def _submit_to_canary(self, bundle: Bundle, verdict: Verdict, who: str, now_ns: int) -> tuple[CandidateInfo, bool]:
        """Store a candidate and give it to the canary robot: both or neither, whenever this process is killed."""
        if (known := self.registry.candidate(bundle.manifest.sha256, verdict)) is not None:
            return known, False
        with self.registry.transaction():
            tried = self.registry.publish(self.canary.publication(bundle, verdict), now_ns)
            stored = self.registry.submit(bundle, verdict, CandidateState.CANARY, who, now_ns, version=tried.version)
        self._weights[tried.version] = tried.sha256
        self._announce(tried, (self._config.canary,))
        self._watch_canary(tried)
        return stored

    def observe(
        self, episodes: Iterable[LiveEpisode], read: JournalPosition, now_ns: int, labels: Iterable[LiveLabel] = ()
    ) -> None:
        """Count live episodes and labels, once each, and act on them; raises `StorageError`.

        A label on one of the latest episodes counts as if that had ended so. One on an episode of before the summary
        corrects counts, and no longer what the watch compares with.
        """
        is_counted, self._needs_recount = not self._needs_recount, True
        with self.registry.transaction():
            new = self.registry.telemetry.record_episodes(episodes, read)
            changed = self.registry.telemetry.record_labels(labels)
            if is_counted and all(each.number <= self._summarized for each in changed):
                self._count(new)
            else:
                self._rebuild()
            late = [each for each in changed if each.number <= self._summarized]
            for each in late:
                self._correct(each)
            self._store_summary_if_due(at_once=bool(late))
        self._needs_recount = False
        self.tick(now_ns)

    def _count(self, new: Sequence[LiveEpisode]) -> None:
        production = self.weights_of(self.production)
        for episode in new:
            weights = self.weights_of(episode.version)
            self.record.observe(weights, episode)
            if weights == production:
                self._observe_watched(episode)
            self.canary.observe(episode, weights)

    def _correct(self, changed: Correction) -> None:
        weights = self.weights_of(changed.now.version)
        self.record.correct(weights, changed.was, changed.now, changed.number)
        first, last = self._watched
        if self._watch and weights == self.weights_of(self.production) and first <= changed.number <= last:
            self._watch.correct(changed.now)
            self._note_promotion()
        self.canary.correct(changed.now, weights)

    def take_refusal(self, receipt: Receipt, now_ns: int) -> None:
        """Roll back a policy that output NaN while it acted, however well it did before."""
        self._report_harm(receipt)
        self.tick(now_ns)

    def tick(self, now_ns: int) -> None:
        """Confirm, roll back or publish the next candidate, when it is due."""
        if self._watch:
            self._act_on_watch(self._watch, now_ns)
        self._act_on_canary(now_ns)
        if self._may_wait and self._may_publish_next(now_ns):
            self._publish_waiting(now_ns)
            self._may_wait = False  # only now: what could not be stored is tried again

    def restore(self, version: int, origin: Origin, who: str, detail: str, now_ns: int) -> VersionInfo:
        """Publish an older version's bytes to all; raises `UnknownName` or `BundleRefused`."""
        return self.publish(
            Publication(bundle=self.registry.bundle(version), origin=origin, who=who, detail=detail, restores=version),
            now_ns,
        )

    def rollback_target(self) -> int:
        """The version to go back to; raises `NoPreviousVersion`."""
        return version_before(self.registry, self.production)

    def _proven_before(self, info: VersionInfo) -> int:
        """The version that `info` has to match: the one before, or an earlier one if that had no time to prove itself.

        0 if there is none. Versions of the gate prove themselves by live episodes: of those in doubt none is replaced
        by the gate. Time alone proves nothing, since robots may stand.
        """
        while info.replaces:
            before = self.registry.version(info.replaces)
            episodes = sum(tally.episodes for tally in self.record.tallies(before.sha256).values())
            if before.origin not in LEARNED or episodes >= PROVEN_EPISODES or before.sha256 in self._confirmed:
                return before.version
            info = before
        return 0

    def _judged_against_production(self, verdict: Verdict) -> bool:
        weights = self.weights_of(verdict.incumbent_version)
        return bool(weights) and weights == self.weights_of(self.production)

    def _report_harm(self, receipt: Receipt) -> None:
        self.canary.report_harm(receipt)
        if self._watch is None or receipt.fallback_version is None or receipt.version < self._watch.version:
            return  # not about the watched version, or from before the same weights were pushed again
        if self.weights_of(receipt.version) == self.weights_of(self.production):
            self._watch.report_harm(receipt.detail)

    def _may_publish_next(self, now_ns: int) -> bool:
        if self.registry.directive(FLEET).fixed:
            return False
        if self._watch is None or self._watch.settled or self.weights_of(self.production) in self._confirmed:
            return True
        # The gate found the next one better than the one under watch. It waits only for a verdict that is near.
        return self._watch.undecided or self.watched_s(now_ns) >= self._config.watch_s

    def _publish_waiting(self, now_ns: int) -> None:
        waiting = self.registry.waiting()
        if waiting is None:
            return
        info, bundle = waiting
        if not self._judged_against_production(info.verdict):
            detail = f"{info.sha256[:8]} was judged against v{info.verdict.incumbent_version}, not v{self.production}"
            self.registry.drop_waiting(CandidateState.STALE, MANAGER_NAME, now_ns, detail)
            return
        self.publish(
            Publication(
                bundle=bundle,
                origin=Origin.GATE,
                who=MANAGER_NAME,
                detail=info.verdict.reason,
                verdict=info.verdict,
                decided_ns=info.received_ns,
            ),
            now_ns,
        )

    def _act_on_watch(self, watch: DeploymentMonitor, now_ns: int) -> None:
        if watch.decision is MonitorDecision.ROLL_BACK and not self.registry.directive(FLEET).pin:
            proven, reason = self._proven_before(self.registry.version(watch.version)), watch.report().reason
            self.restore(proven or self.rollback_target(), Origin.ROLLBACK, MANAGER_NAME, reason, now_ns)
            return
        if watch.decision is MonitorDecision.PROMOTE and watch.version not in self._shown:
            weights = self.weights_of(self.production)
            with self.registry.transaction():
                self.registry.telemetry.confirm(weights, watch.version, self._promoted_at, now_ns)
                self.registry.note(MANAGER_NAME, "confirmed", now_ns, watch.version, watch.report().reason)
            self._confirmed.add(weights)
            self._shown[watch.version] = self._promoted_at

    def _observe_watched(self, episode: LiveEpisode) -> None:
        """Pass the episode that was counted last to the watch, unless the watch is over."""
        if self._watch is None or self._is_over(self._watch, episode):
            return
        self._watch.observe(episode)
        self._watched = (self._watched[0] or self.record.episodes, self.record.episodes)
        self._note_promotion()

    def _note_promotion(self) -> None:
        if self._watch and self._watch.decision is MonitorDecision.PROMOTE and not self._promoted_at:
            self._promoted_at = self.record.episodes

    def _is_over(self, watch: DeploymentMonitor, episode: LiveEpisode) -> bool:
        # After confirmation and `watch_s`, failures mean that the world changed: that is for the learner.
        # A label may change the episodes behind a confirmation; the confirmation and the end of the watch stay.
        was_shown = self.record.episodes > self._shown.get(watch.version, self.record.episodes)
        is_confirmed = was_shown or watch.decision is MonitorDecision.PROMOTE
        return is_confirmed and self.watched_s(episode.observed_ns) >= self._config.watch_s

    def _begin_watch(self, info: VersionInfo) -> None:
        self._watch, self._promoted_at, self._watched = None, 0, (0, 0)
        if info.origin in _WATCHED and info.replaces:
            failing = self.record.failing
            reference = self.record.recent(self.weights_of(self._proven_before(info)), failing)
            self._watch = DeploymentMonitor(self._config, info.version, reference, failing)
            self._watched_since_ns = info.published_ns

    def _act_on_canary(self, now_ns: int) -> None:
        decision, reason = self.canary.decide(self.production, now_ns)
        if decision is CanaryDecision.BACK:
            self.restore(self.production, Origin.ROLLBACK, MANAGER_NAME, reason, now_ns)
        elif decision is CanaryDecision.TO_ALL:
            self.restore(self.canary.version, Origin.CANARY, MANAGER_NAME, reason, now_ns)

    def _watch_canary(self, info: VersionInfo) -> None:
        failing = self.record.failing
        self.canary.begin(info, self.record.recent(self.weights_of(info.replaces), failing), failing)

    def _announce(self, info: VersionInfo, only: tuple[str, ...]) -> None:
        fixed = [d.scope for d in self.registry.directives() if d.fixed not in (0, info.version) and d.scope != FLEET]
        self._announcements.append(
            Announcement(
                version=info.version,
                epoch=info.epoch,
                bundle=self.registry.blob(info.version),
                only=only,
                but=() if only else tuple(fixed),
            )
        )

    def _rebuild(self) -> None:
        """Begin with the stored summary, and count the episodes after it, in order of arrival, with their labels."""
        stored = self.registry.telemetry.summary(ControllerState)
        self.record, self._watch = LiveStatistics(self._since_ns), None
        if stored is not None:
            self.record = LiveStatistics.from_state(stored.live, self._since_ns)
        self._summarized = self.record.episodes
        info, tried = first_of_watch(self.registry, self.production), self.canary.forget()
        begun = stored is not None and info is not None and self._resume_watch(stored, info)
        if stored is not None and stored.canary is not None and tried and stored.canary.version == tried.version:
            self.canary.restore(tried, stored.canary)
        for episode in self.registry.telemetry.episodes_after(self._summarized):
            if info and not begun and episode.observed_ns > info.published_ns:
                self._begin_watch(info)
                begun = True
            if tried and not self.canary.version and episode.observed_ns > tried.published_ns:
                self._watch_canary(tried)
            weights = self.weights_of(episode.version)
            self.record.observe(weights, episode)
            if info and weights == info.sha256:
                self._observe_watched(episode)
            self.canary.observe(episode, weights)
        if info and not begun:
            self._begin_watch(info)
        if tried and not self.canary.version:
            self._watch_canary(tried)
        for stored_receipt in self.registry.telemetry.failures():
            self._report_harm(stored_receipt.receipt)

    def _resume_watch(self, stored: ControllerState, info: VersionInfo) -> bool:
        """Go on with the stored watch; False if it is of another version."""
        if stored.watch is None or stored.watch.version != info.version:
            return False
        self._watch = DeploymentMonitor(self._config, info.version, stored.watch.reference, stored.watch.tasks)
        self._watch.restore(stored.watch)
        self._watched_since_ns, self._promoted_at = info.published_ns, stored.promoted_at
        self._watched = stored.watched
        return True

    def _store_summary_if_due(self, *, at_once: bool = False) -> None:
        if not at_once and self.record.episodes - self._summarized < SUMMARY_EPISODES:
            return
        watch = self._watch.state() if self._watch else None
        state = ControllerState(self.record.state(), watch, self._watched, self._promoted_at, self.canary.state())
        self.registry.telemetry.store_summary(self.record.episodes, state)
        self._summarized = self.record.episodes
