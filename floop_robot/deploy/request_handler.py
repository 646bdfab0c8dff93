"""FleetRequestHandler: answers requests to the fleet manager, one at a time. No sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from floop_robot.bundle import Bundle, verify
from floop_robot.bundle.delivery import (
    Announcement,
    FetchPolicy,
    Heartbeat,
    InstallStage,
    NameRefusal,
    PolicyDelivery,
    Receipt,
    ReceiptAck,
    ReceiptReport,
    Refusal,
    Target,
)
from floop_robot.deploy.believed_peers import BelievedPeers
from floop_robot.deploy.command_handler import FLEET_MANAGER, CommandHandler
from floop_robot.deploy.deployment_controller import MANAGER_NAME, DeploymentController
from floop_robot.deploy.deployment_monitor import LiveStatistics
from floop_robot.deploy.fleet_stops import FleetStops, ResetAnswer
from floop_robot.deploy.messages import (
    CandidateSubmission,
    FleetStatus,
    GetFleetStatus,
    GetNews,
    GetPolicies,
    GetRobots,
    News,
    Policies,
    Reply,
    Request,
    Robots,
    RobotStatus,
    StorageUse,
    SubmissionResult,
    VersionLive,
)
from floop_robot.deploy.peer_secrets import PeerSecrets
from floop_robot.deploy.registry import (
    BASELINE,
    FLEET,
    PRODUCTION,
    CandidateState,
    Directive,
    JournalPosition,
    LiveEpisode,
    LiveLabel,
    Origin,
    Publication,
    Registry,
    RegistryFenced,
    VersionInfo,
)
from floop_robot.deploy.restored_registry import outgrow
from floop_robot.deploy.robot_hosts import RobotHosts
from floop_robot.deploy.stop_messages import EstopReport, GetEstops, ResetReport, ResetResult, ResetRobots, StopRobots
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.errors import CallRefused, FloopError
from floop_robot.spec.estop import printable
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import Source
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.verdict import Decision, check_verdict

MAX_ROBOTS = 256
"""Robots that are remembered: invented names must not fill the memory."""
MAX_AHEAD = 100
"""Receipts of versions that were never published are kept up to so many: made-up numbers must fill no table."""
FORGOTTEN_AFTER_S = 60.0
"""When there are so many, one that was silent for so long makes room, unless the configuration names it."""
MAX_RESETS = 64
"""Resets whose results can be asked for: clients do so within seconds."""
NO_FLEET_STOPS = "this fleet manager runs without ROS and reaches no e-stop; stop and reset on the robot's own host"
SHOWN_AUDIT = 20
SHOWN_VERSIONS = 20
"""Newest versions of which the status tells the live success."""
NEWS_AT_ONCE = 100


class _LastHeartbeat(msgspec.Struct, frozen=True):
    """A robot's last heartbeat, and when it was; 0 before the first."""

    beat: Heartbeat
    at_ns: int = 0


class FleetRequestHandler:
    """The fleet manager without its sockets. `clock` returns wall-clock nanoseconds that never go back."""

    def __init__(
        self,
        registry: Registry,
        config: DeployConfig,
        task: TaskSpec,
        ids: Ids,
        clock: Callable[[], int],
        authorize: Callable[[str, str], str] = lambda who, token: "",
        stops: FleetStops | None = None,
        storage: Callable[[], tuple[StorageUse, ...]] = tuple,
        secrets: PeerSecrets | None = None,
        other_notes: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`stops`: None without ROS, where a robot is stopped on its own host. `storage`: what its files use.

        `secrets`: None takes verdicts and receipts from everybody. `other_notes`: what ingest wants people to see.
        """
        self._storage = storage
        self._registry, self._task, self._ids, self._clock = registry, task, ids, clock
        self._command_handler = CommandHandler(registry, config, task, ids, authorize, clock())
        self._stops, self._resets = stops, dict[str, dict[str, ResetAnswer]]()
        self._other_notes = other_notes
        self._robots: dict[str, _LastHeartbeat] = {}
        self._refusals: dict[str, str] = {}
        self._hosts = RobotHosts(registry, MANAGER_NAME, clock())
        self._peers = BelievedPeers(secrets, self._hosts)

    @property
    def _controller(self) -> DeploymentController:
        return self._command_handler.controller

    def register_robots(self, robots: Iterable[str]) -> None:
        """Robots that commands may name before their first heartbeat."""
        for robot in robots:
            self._peers.configured.add(robot)
            beat = Heartbeat(robot=robot, boot_id="", contract=self._ids.contract, version=0)
            self._robots.setdefault(robot, _LastHeartbeat(beat))

    @property
    def started(self) -> bool:
        """Whether a version is in production, so that no baseline is needed."""
        return self._controller.production > 0

    def publish_baseline(self, bundle: Bundle) -> None:
        """Publish `bundle` as the baseline, unless the registry has versions; raises what `verify` raises."""
        if self.started:
            return
        verify(bundle, self._task, self._ids, where=FLEET_MANAGER)
        self._controller.publish(Publication(bundle=bundle, origin=Origin.BASELINE, who=MANAGER_NAME), self._clock())

    def handle(self, request: Request) -> Reply:
        """Answer a request; what can't be fulfilled becomes a `Refusal`. Raises only `RegistryFenced`."""
        try:
            return self._answer(request)
        except RegistryFenced:
            raise
        except FloopError as error:
            return Refusal(reason=str(error))

    def observe(self, episodes: Sequence[LiveEpisode], read: JournalPosition, labels: Sequence[LiveLabel] = ()) -> None:
        """Take in live episodes and labels from the journal; raises `StorageError`."""
        counted = [each for each in episodes if each.source is not Source.ROBOT or self._peers.counts(each.robot)]
        self._controller.observe(
            counted, read, self._clock(), [each for each in labels if self._peers.counts(each.robot)]
        )

    def tick(self) -> None:
        """Decide what time alone makes due; raises `StorageError`."""
        self._controller.tick(self._clock())
        self._registry.maintain(self._clock())

    def take_announcements(self) -> list[Announcement]:
        """What must be broadcast since the last call."""
        return self._controller.take_announcements()

    def _answer(self, request: Request) -> Reply:
        if isinstance(request, Heartbeat):
            return self._heartbeat(request)
        if isinstance(request, ReceiptReport):
            return self._report(request)
        if isinstance(request, FetchPolicy):
            version = request.version or self._controller.production
            return PolicyDelivery(version=version, epoch=self._registry.epoch, bundle=self._registry.blob(version))
        if isinstance(request, CandidateSubmission):
            return self._submit(request)
        if isinstance(request, GetFleetStatus):
            return self.status()
        if isinstance(request, GetPolicies):
            versions = self._registry.versions(request.last)
            return Policies(
                production=self._controller.production,
                baseline=self._registry.alias(BASELINE),
                versions=tuple(versions),
                confirmed=self._confirmed(versions),
                live=live_by_weights(versions, self._controller.record),
                count=self._controller.version_count,
            )
        if isinstance(request, GetRobots):
            return self._robots_message()
        if isinstance(request, GetNews):
            return self._news(request)
        if isinstance(request, StopRobots | GetEstops | ResetRobots):
            return self._estop(request)
        return self._command_handler.serve(request, self._robots, self._clock())

    def _heartbeat(self, beat: Heartbeat) -> Target | NameRefusal:
        if self._has_room_for(beat.robot):
            now_ns = self._clock()
            if refusal := self._peers.robot_refusal(beat.robot, beat.host, beat.secret, now_ns):
                return NameRefusal(reason=refusal)
            self._robots[beat.robot] = _LastHeartbeat(beat, now_ns)
            if self._peers.counts(beat.robot) and (note := outgrow(self._controller, beat, now_ns)):
                self._peers.refused.add(note)
        drain = self._registry.directive(beat.robot).drained or self._registry.directive(FLEET).drained
        return Target(version=self._registry.target(beat.robot), epoch=self._registry.epoch, drain=drain)

    def _report(self, report: ReceiptReport) -> ReceiptAck | NameRefusal:
        receipt = report.receipt
        if self._has_room_for(receipt.robot):
            if refusal := self._peers.robot_refusal(receipt.robot, report.host, report.secret, self._clock()):
                return NameRefusal(reason=refusal)
            if receipt.version <= self._controller.newest + MAX_AHEAD and self._peers.counts(receipt.robot):
                self._take_receipt(receipt)
        return ReceiptAck(robot=receipt.robot, version=receipt.version, stage=receipt.stage, failed=receipt.failed)

    def _take_receipt(self, receipt: Receipt) -> None:
        receipt = msgspec.structs.replace(receipt, detail=printable(receipt.detail))
        self._registry.telemetry.record_receipt(receipt, self._clock())
        if receipt.stage is InstallStage.REFUSED:
            self._refusals[receipt.robot] = receipt.detail
            self._controller.take_refusal(receipt, self._clock())
        elif receipt.stage is InstallStage.INSTALLED:
            self._refusals.pop(receipt.robot, None)
        elif receipt.stage is InstallStage.ACTING:
            self._begins_to_act(receipt.robot, receipt.version)

    def _has_room_for(self, robot: str) -> bool:
        """Whether a name is known, or may be; one that came once and is silent since makes room."""
        if robot in self._robots or len(self._robots) < MAX_ROBOTS:
            return True
        others = {name: seen.at_ns for name, seen in self._robots.items() if name not in self._peers.configured}
        oldest = min(others, key=others.__getitem__, default="")
        if not oldest or (self._clock() - others[oldest]) * 1e-9 < FORGOTTEN_AFTER_S:
            self._peers.refused.add(f"more than {MAX_ROBOTS} robots report; other names are not shown")
            return False
        del self._robots[oldest]
        self._refusals.pop(oldest, None)
        self._hosts.forget(oldest)
        return True

    def _submit(self, submission: CandidateSubmission) -> SubmissionResult:
        if refusal := self._peers.verdict_refusal(submission.who, submission.secret):
            raise CallRefused(refusal)
        bundle = Bundle.from_bytes(submission.bundle, "the submitted candidate")
        verdict = submission.verdict
        if verdict.candidate_sha256 != bundle.manifest.sha256:
            raise FloopError(
                f"the verdict is about candidate {verdict.candidate_sha256[:8]}, the bundle holds "
                f"{bundle.manifest.sha256[:8]}; submit them together"
            )
        check_verdict(verdict)
        if verdict.decision is Decision.ACCEPTED or verdict.canary:  # it may reach a robot
            verify(bundle, self._task, self._ids, where=FLEET_MANAGER)
        state, version, new = self._controller.submit(bundle, verdict, submission.who, self._clock())
        return SubmissionResult(state=state, version=version, new=new)

    def _begins_to_act(self, robot: str, version: int) -> None:
        """Know it at once, before the next heartbeat."""
        seen = self._robots.get(robot)
        if seen is not None and seen.beat.acting < version:
            beat = msgspec.structs.replace(seen.beat, acting=version, version=max(version, seen.beat.version))
            self._robots[robot] = _LastHeartbeat(beat, seen.at_ns)

    def _robots_message(self) -> Robots:
        robots = self.robot_statuses()
        return Robots(stamp_ns=self._clock(), production=self._controller.production, robots=robots)

    def _news(self, asked: GetNews) -> News:
        audit, audit_to = self._registry.audit_after(asked.audit_after, NEWS_AT_ONCE)
        candidates, candidates_to = self._registry.candidates_after(asked.candidates_after, NEWS_AT_ONCE)
        return News(audit=tuple(audit), audit_to=audit_to, candidates=tuple(candidates), candidates_to=candidates_to)

    def _estop(self, request: StopRobots | GetEstops | ResetRobots) -> EstopReport | ResetReport:
        if self._stops is None:
            raise CallRefused(NO_FLEET_STOPS)
        if isinstance(request, ResetRobots):
            if request.call_id not in self._resets:  # sent again, it asks for what has become of it
                call = self._stops.reset(request.stops, request.who, request.token, request.why)
                self._resets = dict([*self._resets.items(), (request.call_id, call)][-MAX_RESETS:])
            answers = {
                robot: answer.result() for robot, answer in self._resets[request.call_id].items() if answer.done()
            }
            results = (ResetResult(robot=r, success=success, message=text) for r, (success, text) in answers.items())
            return ResetReport(results=tuple(results))
        if isinstance(request, StopRobots):
            _, unknown = self._stops.stop(request.robots, request.who, request.why, request.request_id)
            if unknown:
                raise CallRefused("; ".join(unknown))
        return self._stops.report()

    def status(self, dropped_messages: int = 0, error: str = "") -> FleetStatus:
        """Everything `floop status` shows."""
        now_ns, controller = self._clock(), self._controller
        versions = self._shown_versions()
        waiting = self._registry.waiting()
        states, decisions = self._candidate_counts()
        return FleetStatus(
            stamp_ns=now_ns,
            epoch=self._registry.epoch,
            task=self._task.id,
            production=controller.production,
            baseline=self._registry.alias(BASELINE),
            confirmed=self._confirmed(versions),
            calibration=next((v.calibration for v in versions if v.version == controller.production), {}),
            watch=controller.monitor_report(),
            watched_s=controller.watched_s(now_ns),
            canary=controller.canary.report(),
            canary_robot=controller.canary.robot,
            waiting=waiting[0].sha256 if waiting else "",
            fleet=self._registry.directive(FLEET),
            robots=self.robot_statuses(),
            live=live_by_weights(versions, controller.record),
            candidates=dict(states),
            accepted=decisions[Decision.ACCEPTED],
            rejected=decisions[Decision.REJECTED],
            inconclusive=decisions[Decision.INCONCLUSIVE],
            dropped_messages=dropped_messages,
            trouble="; ".join(filter(None, (error, self._stops.error if self._stops else ""))),
            audit=tuple(self._registry.audited_actions(SHOWN_AUDIT)),
            storage=self._storage(),
            notes=(*self._peers.refused.notes(), *self._other_notes()),
        )

    def _shown_versions(self) -> list[VersionInfo]:
        """The newest, and before them those that have a name."""
        newest = self._registry.versions(SHOWN_VERSIONS)
        named = {self._controller.production, self._registry.alias(BASELINE), *self._fixed()} - {0}
        older = sorted(named - {info.version for info in newest})
        return [*map(self._registry.version, older), *newest]

    def _fixed(self) -> set[int]:
        """Versions that robots are held on or pinned to."""
        return {each.fixed for each in self._registry.directives()}

    def _candidate_counts(self) -> tuple[Counter[CandidateState], Counter[Decision]]:
        """How many candidates there are of each state, and of each verdict."""
        states: Counter[CandidateState] = Counter()
        decisions: Counter[Decision] = Counter()
        for (state, decision), count in self._registry.candidate_counts().items():
            states[state] += count
            decisions[decision] += count
        return states, decisions

    def _confirmed(self, versions: Sequence[VersionInfo]) -> tuple[int, ...]:
        """Versions whose live success is confirmed."""
        confirmed = self._registry.telemetry.confirmed()
        return tuple(info.version for info in versions if info.sha256 in confirmed)

    def robot_statuses(self) -> tuple[RobotStatus, ...]:
        """Every known robot, by name; raises `StorageError`."""
        now_ns, production = self._clock(), self._registry.alias(PRODUCTION)
        given = {directive.scope: directive for directive in self._registry.directives()}
        return tuple(
            self._robot_status(name, seen, given.get(name, Directive(name)), production, now_ns)
            for name, seen in sorted(self._robots.items())
        )

    def _robot_status(
        self, name: str, seen: _LastHeartbeat, directive: Directive, production: int, now_ns: int
    ) -> RobotStatus:
        beat, tally = seen.beat, self._controller.record.of_robot(name)
        return RobotStatus(
            robot=name,
            version=beat.version,
            target=directive.fixed or production,
            silent_s=(now_ns - seen.at_ns) * 1e-9 if seen.at_ns else float("inf"),
            contract_fits=beat.contract == self._ids.contract,
            directive=directive,
            last_refusal=self._refusals.get(name, ""),
            acting=beat.acting,
            idle=beat.idle,
            drained=beat.drained,
            estop=beat.estop,
            stop_pending=self._stops is not None and self._stops.is_pending(name),
            successes=tally.successes,
            episodes=tally.episodes,
            host=self._hosts.name(name),
            duplicate=self._hosts.duplicate(name, now_ns),
        )


def live_by_weights(versions: Sequence[VersionInfo], record: LiveStatistics) -> tuple[VersionLive, ...]:
    """Production success of all weights, oldest first."""
    by_weights: dict[str, list[int]] = {}
    for info in versions:
        by_weights.setdefault(info.sha256, []).append(info.version)
    return tuple(
        VersionLive(sha256=sha256, versions=tuple(numbers), classes=dict(record.tallies(sha256)))
        for sha256, numbers in by_weights.items()
    )
