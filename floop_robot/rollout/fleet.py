"""Fleet: answers every request to the fleet manager. No sockets; the server calls it, one request at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from floop_robot.bundle import Bundle, verify
from floop_robot.registry import (
    BASELINE,
    FLEET,
    CandidateState,
    Directive,
    JournalRead,
    Origin,
    Publication,
    Registry,
    RegistryFenced,
    SeenEpisode,
    Stage,
)
from floop_robot.rollout.conductor import MANAGER, Conductor, pin_of
from floop_robot.rollout.messages import (
    Announcement,
    Call,
    Delivery,
    Done,
    Fetch,
    FleetStatus,
    GetPolicies,
    GetStatus,
    Heartbeat,
    Hold,
    Noted,
    Pin,
    Policies,
    Push,
    Refusal,
    Reply,
    Report,
    Request,
    Resume,
    RobotStatus,
    Rollback,
    Submission,
    Submitted,
    Target,
    VersionLive,
)
from floop_robot.spec.config import RolloutConfig
from floop_robot.spec.errors import FloopError, UnknownName
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.verdict import Decision

MOST_ROBOTS = 256
"""Names of robots that are kept: a sender of made-up names must not fill the memory."""
SHOWN_AUDIT = 20
_HERE = "the fleet manager"


class FleetPinned(FloopError):
    """The fleet stays where it was pinned."""


class _Seen(msgspec.Struct, frozen=True):
    version: int
    contract: str
    at_ns: int


class Fleet:
    """The fleet manager without its sockets. `clock` returns wall-clock nanoseconds that never go back."""

    def __init__(
        self, registry: Registry, config: RolloutConfig, task: TaskSpec, ids: Ids, clock: Callable[[], int]
    ) -> None:
        self._registry, self._config, self._task, self._ids, self._clock = registry, config, task, ids, clock
        self._conductor = Conductor(registry, config)
        self._robots: dict[str, _Seen] = {}
        self._refusals: dict[str, str] = {}

    def expect(self, robots: Iterable[str]) -> None:
        """Name robots that orders may speak of before their first heartbeat."""
        for robot in robots:
            self._robots.setdefault(robot, _Seen(0, self._ids.contract, 0))

    @property
    def started(self) -> bool:
        """Whether a version is in production, so that no baseline is needed."""
        return self._conductor.production > 0

    def start_from(self, bundle: Bundle) -> None:
        """Publish `bundle` as the baseline, unless the registry has versions; raises what `verify` raises."""
        if self.started:
            return
        verify(bundle, self._task, self._ids, where=_HERE)
        self._conductor.publish(Publication(bundle=bundle, origin=Origin.BASELINE, who=MANAGER), self._clock())

    def handle(self, request: Request) -> Reply:
        """Answer a request; what can't be fulfilled becomes a `Refusal`. Raises only `RegistryFenced`."""
        try:
            return self._answer(request)
        except RegistryFenced:
            raise
        except FloopError as error:
            return Refusal(reason=str(error))

    def observe(self, episodes: Sequence[SeenEpisode], read: JournalRead) -> None:
        """Take in live episodes from the journal; raises `StorageError`."""
        self._conductor.observe(episodes, read, self._clock())

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
        return self._once(request)

    def _heartbeat(self, beat: Heartbeat) -> Target:
        if beat.robot in self._robots or len(self._robots) < MOST_ROBOTS:
            self._robots[beat.robot] = _Seen(beat.version, beat.contract, self._clock())
        return Target(version=self._registry.target(beat.robot), epoch=self._registry.epoch)

    def _report(self, report: Report) -> Noted:
        receipt = report.receipt
        if receipt.robot in self._robots or len(self._robots) < MOST_ROBOTS:
            self._registry.field.record_receipt(receipt, self._clock())
            if receipt.stage is Stage.REFUSED:
                self._refusals[receipt.robot] = receipt.detail
            elif receipt.stage is Stage.INSTALLED:
                self._refusals.pop(receipt.robot, None)
        return Noted(robot=receipt.robot, version=receipt.version, stage=receipt.stage)

    def _submit(self, submission: Submission) -> Submitted:
        bundle = Bundle.from_bytes(submission.bundle, "the submitted candidate")
        verdict = submission.verdict
        if verdict.candidate_sha256 != bundle.manifest.sha256:
            raise FloopError(
                f"the verdict speaks of candidate {verdict.candidate_sha256[:8]}, the bundle holds "
                f"{bundle.manifest.sha256[:8]}; submit them together"
            )
        if verdict.decision is Decision.ACCEPTED:
            verify(bundle, self._task, self._ids, where=_HERE)
        state, version, new = self._conductor.submit(bundle, verdict, submission.who, self._clock())
        return Submitted(state=state, version=version, new=new)

    def _once(self, call: Call) -> Done:
        """Carry out an order; a repeated one gets the answer that it got."""
        known = self._registry.answered_call(call.call_id)
        if known is not None:
            return msgspec.msgpack.decode(known, type=Done)
        try:
            with self._registry.together():
                done = self._carry_out(call, self._clock())
                self._registry.remember_call(call.call_id, msgspec.msgpack.encode(done), done.stamp_ns)
        except BaseException:
            # Nothing of it is on disk: forget what memory and the outbox may hold of it.
            self._conductor = Conductor(self._registry, self._config)
            raise
        return done

    def _carry_out(self, call: Call, now_ns: int) -> Done:
        if isinstance(call, Push):
            return self._push(call, now_ns)
        if isinstance(call, Rollback):
            self._refuse_if_pinned()
            version = call.version or self._conductor.before_production()
            info = self._conductor.go_back(version, Origin.ROLLBACK, call.who, f"operator: to v{version}", now_ns)
            what = f"rolled back to v{version}, published as v{info.version}"
            return Done(who=call.who, what=what, stamp_ns=now_ns, version=info.version)
        if isinstance(call, Pin):
            return self._pin(call, now_ns)
        if isinstance(call, Hold):
            return self._hold(call, now_ns)
        if isinstance(call, Resume):
            return self._resume(call, now_ns)
        raise FloopError(f"{type(call).__name__} is no order this fleet manager knows; update it")

    def _push(self, call: Push, now_ns: int) -> Done:
        self._refuse_if_pinned()
        bundle = Bundle.from_bytes(call.bundle, "the pushed bundle")
        notes = verify(bundle, self._task, self._ids, where=_HERE).notes
        detail = "; ".join(filter(None, (call.why, *notes)))
        info = self._conductor.publish(
            Publication(bundle=bundle, origin=Origin.PUSH, who=call.who, detail=detail), now_ns
        )
        what = f"pushed v{info.version}" + (f" ({'; '.join(notes)})" if notes else "")
        return Done(who=call.who, what=what, stamp_ns=now_ns, version=info.version)

    def _pin(self, call: Pin, now_ns: int) -> Done:
        current = self._scope_version(call.scope)
        weights = self._registry.version(call.version).sha256
        if weights == self._conductor.weights_of(current):
            version = current
            directive = Directive(call.scope, held=True, pin=current)
            self._registry.direct(directive, call.who, f"pinned {call.scope}", now_ns)
        else:
            whole_fleet = call.scope == FLEET
            publication = Publication(
                bundle=self._registry.bundle(call.version),
                origin=Origin.PIN,
                who=call.who,
                detail=f"pinned {call.scope} to v{call.version}",
                restores=call.version,
                promote=whole_fleet,
                directives=(pin_of(call.scope),),
            )
            version = self._conductor.publish(publication, now_ns, () if whole_fleet else (call.scope,)).version
        what = f"pinned {call.scope} to v{call.version}" + (f", as v{version}" if version != call.version else "")
        return Done(who=call.who, what=what, stamp_ns=now_ns, version=version)

    def _hold(self, call: Hold, now_ns: int) -> Done:
        version = self._scope_version(call.scope)
        pin = self._registry.directive(call.scope).pin
        directive = Directive(call.scope, held=True, pin=pin if call.scope == FLEET else version)
        self._registry.direct(directive, call.who, f"held {call.scope}", now_ns)
        return Done(who=call.who, what=f"held {call.scope} on v{version}", stamp_ns=now_ns, version=version)

    def _resume(self, call: Resume, now_ns: int) -> Done:
        version = self._scope_version(call.scope)
        self._registry.direct(Directive(call.scope), call.who, f"resumed {call.scope}", now_ns)
        production = self._conductor.production
        if version > production:
            # The robot is on a later number than the fleet, and versions only grow: give the fleet's a later one still.
            info = self._conductor.go_back(production, Origin.PIN, call.who, f"resumed {call.scope}", now_ns)
            production = info.version
        self._conductor.tick(now_ns)
        return Done(who=call.who, what=f"resumed {call.scope}", stamp_ns=now_ns, version=production)

    def _scope_version(self, scope: str) -> int:
        """The version a scope is on by order; raises `UnknownName`."""
        if scope == FLEET:
            return self._conductor.production
        if scope not in self._robots:
            raise UnknownName("robot", scope, [*self._robots, FLEET])
        return self._registry.target(scope)

    def _refuse_if_pinned(self) -> None:
        pin = self._registry.directive(FLEET).pin
        if pin:
            raise FleetPinned(f"the fleet is pinned to v{pin}; resume it first")

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
            production=conductor.production,
            baseline=self._registry.alias(BASELINE),
            confirmed=tuple(v.version for v in versions if v.sha256 in confirmed),
            watch=conductor.watch_report(),
            watched_s=conductor.watched_s(now_ns),
            waiting=waiting[0].sha256 if waiting else "",
            fleet=self._registry.directive(FLEET),
            robots=tuple(self._robot_status(name, seen, now_ns) for name, seen in sorted(self._robots.items())),
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
            audit=tuple(self._registry.audit(SHOWN_AUDIT)),
        )

    def _robot_status(self, name: str, seen: _Seen, now_ns: int) -> RobotStatus:
        return RobotStatus(
            robot=name,
            version=seen.version,
            target=self._registry.target(name),
            silent_s=(now_ns - seen.at_ns) * 1e-9 if seen.at_ns else float("inf"),
            contract_fits=seen.contract == self._ids.contract,
            directive=self._registry.directive(name),
            last_refusal=self._refusals.get(name, ""),
        )

