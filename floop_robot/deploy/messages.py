"""Messages between the fleet manager, its robots, the gate and operators; decoded into types at the border.

Operators' commands are in `commands`. Requests travel as `[id, message]`; the answer repeats the id.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from floop_robot.bundle.delivery import (
    FetchPolicy,
    Heartbeat,
    NameRefusal,
    PolicyDelivery,
    ReceiptAck,
    ReceiptReport,
    Refusal,
    Target,
)
from floop_robot.deploy.commands import AnyCommand, CommandResult
from floop_robot.deploy.deployment_monitor import MonitorReport, Tally
from floop_robot.deploy.registry import (
    AuditEntry,
    CandidateInfo,
    CandidateState,
    Directive,
    VersionInfo,
)
from floop_robot.deploy.stop_messages import EstopReport, GetEstops, ResetReport, ResetRobots, StopRobots
from floop_robot.durable.framing import Message
from floop_robot.spec.bounds import MAX_INT, Secret
from floop_robot.spec.calibration import Offset
from floop_robot.spec.verdict import Verdict

Position = Annotated[int, msgspec.Meta(ge=-1, le=MAX_INT)]
"""A row of the audit or of the candidates; -1: none."""

MAX_POLICIES = 1000
"""Versions of one answer."""

# Gate


class CandidateSubmission(Message, frozen=True, kw_only=True):
    """Gate: a judged candidate, accepted or not. May be repeated: it has one effect. Answered by `SubmissionResult`."""

    who: Annotated[str, msgspec.Meta(max_length=200)]
    verdict: Verdict
    bundle: bytes
    secret: Secret = ""
    """The site's; see `peer_secrets`."""


class SubmissionResult(Message, frozen=True, kw_only=True):
    """State of a submitted candidate."""

    state: CandidateState
    version: int
    new: bool
    """False when this very candidate and verdict were known already."""


# Everyone


class GetFleetStatus(Message, frozen=True, kw_only=True):
    """Anyone: how is the fleet? Answered by `FleetStatus`."""


class GetPolicies(Message, frozen=True, kw_only=True):
    """Anyone: which versions are there? Answered by `Policies`."""

    last: Annotated[int, msgspec.Meta(ge=1, le=MAX_POLICIES)] = MAX_POLICIES
    """So many of the newest."""


class GetRobots(Message, frozen=True, kw_only=True):
    """Anyone: which robot runs what? Answered by `Robots`; cheaper than `GetFleetStatus`."""


class GetNews(Message, frozen=True, kw_only=True):
    """Anyone: what was written after these positions? -1 asks for the positions only. Answered by `News`."""

    audit_after: Position = -1
    candidates_after: Position = -1


class RobotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A robot as the fleet manager knows it."""

    robot: str
    version: int
    target: int
    silent_s: float
    """Since its last heartbeat."""
    contract_fits: bool
    directive: Directive
    last_refusal: str
    acting: int = 0
    """The last version on which it took a control step; 0 for none yet."""
    idle: bool = False
    drained: bool = False
    """It starts no episode, whoever drained it."""
    estop: bool = False
    stop_pending: bool = False
    """It has not obeyed a stop yet."""
    successes: int = 0
    """Production episodes that succeeded since the manager started."""
    episodes: int = 0
    """All production episodes since then."""
    host: str = ""
    """Host and folder that it runs in; empty before its first heartbeat."""
    duplicate: str = ""
    """Another host that uses its name now, and is refused; empty for none."""


class VersionLive(msgspec.Struct, frozen=True, kw_only=True):
    """Production success of some weights."""

    sha256: str
    versions: tuple[int, ...]
    classes: dict[str, Tally]


class StorageUse(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of files uses of the central disk."""

    name: str
    bytes: int
    bound: int
    """Its limit, bytes."""
    note: str = ""
    """What is to be known of it."""


class FleetStatus(Message, frozen=True, kw_only=True):
    """Everything `floop status` shows."""

    stamp_ns: int
    epoch: int
    task: str
    production: int
    baseline: int
    confirmed: tuple[int, ...]
    """Versions whose live success is confirmed."""
    calibration: dict[str, Offset]
    """What the version in production subtracts from perceived object positions, by robot, m."""
    watch: MonitorReport | None
    watched_s: float
    canary: MonitorReport | None = None
    """How the version does that `canary_robot` tries before all others."""
    canary_robot: str = ""
    """The robot that tries a version before all others; empty when none does."""
    waiting: str
    """Name of the accepted candidate that waits; empty if none."""
    fleet: Directive
    robots: tuple[RobotStatus, ...]
    live: tuple[VersionLive, ...]
    candidates: dict[CandidateState, int]
    accepted: int
    """Candidates that the gate accepted, whatever became of them."""
    rejected: int
    inconclusive: int
    dropped_messages: int
    trouble: str
    """Why the fleet manager cannot work (a full disk, …); empty when it can."""
    audit: tuple[AuditEntry, ...]
    """The last entries, oldest first, without the arrivals of candidates."""
    storage: tuple[StorageUse, ...] = ()
    """What the fleet uses of the central disk."""
    notes: tuple[str, ...] = ()
    """What was refused or left out and a person should see, one line each."""


class Policies(Message, frozen=True, kw_only=True):
    """The newest versions, oldest first."""

    production: int
    baseline: int
    versions: tuple[VersionInfo, ...]
    confirmed: tuple[int, ...] = ()
    """Versions whose live success is confirmed."""
    live: tuple[VersionLive, ...] = ()
    count: int = 0
    """How many versions there are; 0 where a former floop answers."""


class Robots(Message, frozen=True, kw_only=True):
    """Every known robot."""

    stamp_ns: int
    production: int
    robots: tuple[RobotStatus, ...]


class News(Message, frozen=True, kw_only=True):
    """Audit and judged candidates after the asked-for positions, oldest first; as many as fit one answer."""

    audit: tuple[AuditEntry, ...]
    audit_to: int
    """Ask after this one next time."""
    candidates: tuple[CandidateInfo, ...]
    candidates_to: int


Request = (
    Heartbeat
    | FetchPolicy
    | ReceiptReport
    | CandidateSubmission
    | AnyCommand
    | GetFleetStatus
    | GetPolicies
    | GetRobots
    | GetNews
    | StopRobots
    | GetEstops
    | ResetRobots
)
Reply = (
    Target
    | PolicyDelivery
    | ReceiptAck
    | SubmissionResult
    | CommandResult
    | FleetStatus
    | Policies
    | Robots
    | News
    | EstopReport
    | ResetReport
    | NameRefusal
    | Refusal
)

REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
