"""What the fleet manager, its robots, the gate and operators say to each other; decoded into types at the border.

A message is the CRC-32 of its msgpack (little-endian), then the msgpack: plain ZeroMQ passes flipped bits on.
Requests travel as `[id, message]`; the answer repeats the id.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

from floop_robot.registry import AuditEntry, CandidateState, Directive, Receipt, Stage, VersionInfo
from floop_robot.rollout.watch import Tally, WatchReport
from floop_robot.spec.errors import FloopError
from floop_robot.spec.verdict import Verdict


class MessageRefused(FloopError):
    """Bytes that are no message."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of everything below; the class name is the tag."""


# Robots


class Announcement(Message, frozen=True, kw_only=True):
    """Broadcast: a version, bundle included."""

    version: int
    epoch: int
    bundle: bytes
    only: tuple[str, ...] = ()
    """Robots it is for; empty means all …"""
    but: tuple[str, ...] = ()
    """… except these, which are pinned."""


class Heartbeat(Message, frozen=True, kw_only=True):
    """Robot: I am here and act on this version. Answered by `Target`."""

    robot: str
    boot_id: str
    contract: str
    version: int


class Target(Message, frozen=True, kw_only=True):
    """The version that the robot shall act on; 0 while there is none."""

    version: int
    epoch: int


class Fetch(Message, frozen=True, kw_only=True):
    """Anyone: send me this version (0: the one in production). Answered by `Delivery`."""

    version: int = 0


class Delivery(Message, frozen=True, kw_only=True):
    """A version, bundle included."""

    version: int
    epoch: int
    bundle: bytes


class Report(Message, frozen=True, kw_only=True):
    """Robot: a receipt, repeated until answered by `Noted`."""

    receipt: Receipt


class Noted(Message, frozen=True, kw_only=True):
    """The receipt is on disk."""

    robot: str
    version: int
    stage: Stage


# Gate


class Submission(Message, frozen=True, kw_only=True):
    """Gate: a judged candidate, accepted or not. May be repeated: it has one effect. Answered by `Submitted`."""

    who: str
    verdict: Verdict
    bundle: bytes


class Submitted(Message, frozen=True, kw_only=True):
    """What became of a candidate."""

    state: CandidateState
    version: int
    new: bool
    """False when this very candidate and verdict were known already."""


# Operators


class Call(Message, frozen=True, kw_only=True):
    """An operator's order. `call_id` makes a repeated one harmless; answered by `Done`, and audited."""

    call_id: str
    who: str


class Push(Call, frozen=True, kw_only=True):
    """Publish this bundle, whatever the gate thinks of it."""

    bundle: bytes
    why: str = ""


class Rollback(Call, frozen=True, kw_only=True):
    """Publish the bytes of an older version again, under a new one."""

    version: int = 0
    """0: the one before the version in production."""


class Pin(Call, frozen=True, kw_only=True):
    """Put `scope` (a robot, or `fleet`) on the bytes of a version, and keep it there."""

    scope: str
    version: int


class Hold(Call, frozen=True, kw_only=True):
    """Keep `scope` on what it has: no newer version follows by itself."""

    scope: str


class Resume(Call, frozen=True, kw_only=True):
    """End hold and pin of `scope`."""

    scope: str


class Done(Message, frozen=True, kw_only=True):
    """An order was carried out: who, what, when."""

    who: str
    what: str
    stamp_ns: int
    version: int = 0


class GetStatus(Message, frozen=True, kw_only=True):
    """Anyone: how is the fleet? Answered by `FleetStatus`."""


class GetPolicies(Message, frozen=True, kw_only=True):
    """Anyone: which versions are there? Answered by `Policies`."""


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


class VersionLive(msgspec.Struct, frozen=True, kw_only=True):
    """What robots achieved in production with some weights."""

    sha256: str
    versions: tuple[int, ...]
    classes: dict[str, Tally]


class FleetStatus(Message, frozen=True, kw_only=True):
    """Everything `floop status` shows."""

    stamp_ns: int
    epoch: int
    production: int
    baseline: int
    confirmed: tuple[int, ...]
    """Versions whose live success was shown."""
    watch: WatchReport | None
    watched_s: float
    waiting: str
    """Weights (SHA-256) of the accepted candidate that waits; empty if none."""
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
    """What keeps the fleet manager from its work (a full disk, …); empty when all is well."""
    audit: tuple[AuditEntry, ...]
    """The last entries, oldest first."""


class Policies(Message, frozen=True, kw_only=True):
    """All versions, oldest first."""

    production: int
    baseline: int
    versions: tuple[VersionInfo, ...]


class Refusal(Message, frozen=True, kw_only=True):
    """The request can't be fulfilled: one line for a person."""

    reason: str


Request = (
    Heartbeat | Fetch | Report | Submission | Push | Rollback | Pin | Hold | Resume | GetStatus | GetPolicies
)
Reply = Target | Delivery | Noted | Submitted | Done | FleetStatus | Policies | Refusal

T = TypeVar("T")
_ENCODER = msgspec.msgpack.Encoder()
REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
ANNOUNCEMENTS: msgspec.msgpack.Decoder[Announcement] = msgspec.msgpack.Decoder(Announcement)


def seal(message: Message) -> bytes:
    """A message as bytes."""
    body = _ENCODER.encode(message)
    return zlib.crc32(body).to_bytes(4, "little") + body


def unseal(data: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """A message from bytes; raises `MessageRefused` when it is damaged or none of the expected."""
    body = memoryview(data)[4:]
    if zlib.crc32(body) != int.from_bytes(data[:4], "little"):
        raise MessageRefused("a message failed its CRC: damaged on the way")
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise MessageRefused(f"a message is malformed: {error or type(error).__name__}") from None
