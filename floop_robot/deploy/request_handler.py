"""Fleet: answers every request to the fleet manager. No sockets; the server calls it, one request at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from floop_robot.bundle import Bundle, verify
from floop_robot.deploy.registry import (
    BASELINE,
    FLEET,
    CandidateState,
    JournalRead,
    Origin,
    Publication,
    Registry,
    RegistryFenced,
    SeenEpisode,
    SeenLabel,
    Stage,
)
from floop_robot.deploy.command_handler import HERE, Clerk, Operators
from floop_robot.deploy.deployment_controller import MANAGER, Conductor
from floop_robot.deploy.messages import (
    Announcement,
    Delivery,
    Fetch,
    FleetStatus,
    GetNews,
    GetPolicies,
    GetRobots,
    GetStatus,
    Heartbeat,
    News,
    Noted,
    Policies,
    Refusal,
    Reply,
    Report,
    Request,
    Robots,
    RobotStatus,
    Submission,
    Submitted,
    Target,
    VersionLive,
)
from floop_robot.spec.config import RolloutConfig
from floop_robot.spec.errors import FloopError
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.verdict import Decision, check_numbers

MOST_ROBOTS = 256
"""Names of robots that are kept: a sender of made-up names must not fill the memory."""
SHOWN_AUDIT = 20
NEWS_AT_ONCE = 100


class _Seen(msgspec.Struct, frozen=True):
    """A robot's last heartbeat, and when it was; 0 before the first."""

    beat: Heartbeat
    at_ns: int = 0


class Fleet:
    """The fleet manager without its sockets. `clock` returns wall-clock nanoseconds that never go back."""

    def __init__(
        self,
        registry: Registry,
        config: RolloutConfig,
        task: TaskSpec,
        ids: Ids,
        clock: Callable[[], int],
        operators: Operators | None = None,
    ) -> None:
        self._registry, self._task, self._ids, self._clock = registry, task, ids, clock
        self._clerk = Clerk(registry, config, task, ids, operators, clock())
        self._robots: dict[str, _Seen] = {}
        self._refusals: dict[str, str] = {}

    @property
    def _conductor(self) -> Conductor:
        return self._clerk.conductor

    def expect(self, robots: Iterable[str]) -> None:
        """Name robots that orders may speak of before their first heartbeat."""
        for robot in robots:
            beat = Heartbeat(robot=robot, boot_id="", contract=self._ids.contract, version=0)
            self._robots.setdefault(robot, _Seen(beat))

    @property
    def started(self) -> bool:
        """Whether a version is in production, so that no baseline is needed."""
        return self._conductor.production > 0

    def start_from(self, bundle: Bundle) -> None:
        """Publish `bundle` as the baseline, unless the registry has versions; raises what `verify` raises."""
        if self.started:
            return
        verify(bundle, self._task, self._ids, where=HERE)
        self._conductor.publish(Publication(bundle=bundle, origin=Origin.BASELINE, who=MANAGER), self._clock())

    def handle(self, request: Request) -> Reply:
        """Answer a request; what can't be fulfilled becomes a `Refusal`. Raises only `RegistryFenced`."""
        try:
            return self._answer(request)
        except RegistryFenced:
            raise
        except FloopError as error:
            return Refusal(reason=str(error))

    def observe(
        self, episodes: Sequence[SeenEpisode], read: JournalRead, labels: Sequence[SeenLabel] = ()
    ) -> None:
        """Take in live episodes and labels from the journal; raises `StorageError`."""
        self._conductor.observe(episodes, read, self._clock(), labels)

    def tick(self) -> None:
        """Decide what is due by time alone; raises `StorageError`."""
        self._conductor.tick(self._clock())

    def take_announcements(self) -> list[Announcement]:
        """What must be broadcast since the last call."""
        return self._conductor.take_announcements()

    def _answer(self, request: Request) -> Reply:
        if isinstance(request, Heartbeat):
            return self._heartbeat(request)
        if isinstance(request, Report):
            return self._report(request)
        if isinstance(request, Fetch):
            version = request.version or self._conductor.production
            return Delivery(version=version, epoch=self._registry.epoch, bundle=self._registry.blob(version))
        if isinstance(request, Submission):
            return self._submit(request)
        if isinstance(request, GetStatus):
            return self.status()
        if isinstance(request, GetPolicies):
            return Policies(
                production=self._conductor.production,
                baseline=self._registry.alias(BASELINE),
                versions=tuple(self._registry.versions()),
            )
        if isinstance(request, GetRobots):
            return self._which_run_what()
        if isinstance(request, GetNews):
            return self._news(request)
        return self._clerk.serve(request, self._robots, self._clock())

    def _heartbeat(self, beat: Heartbeat) -> Target:
        if beat.robot in self._robots or len(self._robots) < MOST_ROBOTS:
            self._robots[beat.robot] = _Seen(beat, self._clock())
        drain = self._registry.directive(beat.robot).drained or self._registry.directive(FLEET).drained
        return Target(version=self._registry.target(beat.robot), epoch=self._registry.epoch, drain=drain)

    def _report(self, report: Report) -> Noted:
        receipt = report.receipt
        if receipt.robot in self._robots or len(self._robots) < MOST_ROBOTS:
            self._registry.field.record_receipt(receipt, self._clock())
            if receipt.stage is Stage.REFUSED:
                self._refusals[receipt.robot] = receipt.detail
                self._conductor.take_refusal(receipt, self._clock())
            elif receipt.stage is Stage.INSTALLED:
                self._refusals.pop(receipt.robot, None)
            elif receipt.stage is Stage.ACTING:
                self._begins_to_act(receipt.robot, receipt.version)
        return Noted(robot=receipt.robot, version=receipt.version, stage=receipt.stage, fell=receipt.fell)

    def _submit(self, submission: Submission) -> Submitted:
        bundle = Bundle.from_bytes(submission.bundle, "the submitted candidate")
        verdict = submission.verdict
        if verdict.candidate_sha256 != bundle.manifest.sha256:
            raise FloopError(
                f"the verdict speaks of candidate {verdict.candidate_sha256[:8]}, the bundle holds "
                f"{bundle.manifest.sha256[:8]}; submit them together"
            )
        check_numbers(verdict)
        if verdict.decision is Decision.ACCEPTED:
            verify(bundle, self._task, self._ids, where=HERE)
        state, version, new = self._conductor.submit(bundle, verdict, submission.who, self._clock())
        return Submitted(state=state, version=version, new=new)

    def _begins_to_act(self, robot: str, version: int) -> None:
        """Known at once, not only with the next heartbeat."""
        seen = self._robots.get(robot)
        if seen is not None and seen.beat.acting < version:
            beat = msgspec.structs.replace(seen.beat, acting=version, version=max(version, seen.beat.version))
            self._robots[robot] = _Seen(beat, seen.at_ns)

    def _which_run_what(self) -> Robots:
        now_ns = self._clock()
        return Robots(stamp_ns=now_ns, production=self._conductor.production, robots=self._robot_statuses(now_ns))

    def _news(self, asked: GetNews) -> News:
        audit, audit_to = self._registry.audit_after(asked.audit_after, NEWS_AT_ONCE)
        candidates, candidates_to = self._registry.candidates_after(asked.candidates_after, NEWS_AT_ONCE)
        return News(
            audit=tuple(audit), audit_to=audit_to, candidates=tuple(candidates), candidates_to=candidates_to
        )

    def status(self, dropped_messages: int = 0, trouble: str = "") -> FleetStatus:
        """Everything `floop status` shows."""
        now_ns, conductor = self._clock(), self._conductor
        versions = self._registry.versions()
        confirmed = self._registry.field.confirmed()
        waiting = self._registry.waiting()
        decisions: Counter[Decision] = Counter()
        states: Counter[CandidateState] = Counter()
        for (state, decision), count in self._registry.candidate_counts().items():
            decisions[decision] += count
            states[state] += count
        return FleetStatus(
            stamp_ns=now_ns,
            epoch=self._registry.epoch,
            task=self._task.id,
            production=conductor.production,
            baseline=self._registry.alias(BASELINE),
            confirmed=tuple(v.version for v in versions if v.sha256 in confirmed),
            watch=conductor.watch_report(),
            watched_s=conductor.watched_s(now_ns),
            waiting=waiting[0].sha256 if waiting else "",
            fleet=self._registry.directive(FLEET),
            robots=self._robot_statuses(now_ns),
            live=tuple(
                VersionLive(
                    sha256=sha256,
                    versions=tuple(v.version for v in versions if v.sha256 == sha256),
                    classes=dict(conductor.record.tallies(sha256)),
                )
                for sha256 in dict.fromkeys(v.sha256 for v in versions)
            ),
            candidates=dict(states),
            accepted=decisions[Decision.ACCEPTED],
            rejected=decisions[Decision.REJECTED],
            inconclusive=decisions[Decision.INCONCLUSIVE],
            dropped_messages=dropped_messages,
            trouble=trouble,
            audit=tuple(self._registry.deeds(SHOWN_AUDIT)),
        )

    def _robot_statuses(self, now_ns: int) -> tuple[RobotStatus, ...]:
        return tuple(self._robot_status(name, seen, now_ns) for name, seen in sorted(self._robots.items()))

    def _robot_status(self, name: str, seen: _Seen, now_ns: int) -> RobotStatus:
        beat, work = seen.beat, self._conductor.record.of_robot(name)
        return RobotStatus(
            robot=name,
            version=beat.version,
            target=self._registry.target(name),
            silent_s=(now_ns - seen.at_ns) * 1e-9 if seen.at_ns else float("inf"),
            contract_fits=beat.contract == self._ids.contract,
            directive=self._registry.directive(name),
            last_refusal=self._refusals.get(name, ""),
            acting=beat.acting,
            idle=beat.idle,
            drained=beat.drained,
            estop=beat.estop,
            successes=work.successes,
            episodes=work.episodes,
        )
