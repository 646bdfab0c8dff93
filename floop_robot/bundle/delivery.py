"""How a policy reaches a robot: the messages between fleet manager and robot, and the robot's receipts.

The fleet manager broadcasts an `Announcement`. Each robot sends a `Heartbeat`, is answered with its `Target`, fetches
what it missed, and sends a `Receipt` for every stage of an installation.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from floop_robot.durable.framing import Message
from floop_robot.spec.bounds import BoundedInt, Secret, WireName

TOPIC = b"policy"
"""ZeroMQ topic of the announcements."""

MAX_SENT_BUNDLE_BYTES = 17 << 20
"""Of one message with a bundle: the largest bundle, and room for what goes with it."""

VersionNumber = BoundedInt
"""A policy version in a message from another process: 0 to 2**62."""


Digest = Annotated[str, msgspec.Meta(max_length=64)]
Detail = Annotated[str, msgspec.Meta(max_length=4000)]


class RobotHost(msgspec.Struct, frozen=True):
    """Where a robot's processes run: two hosts with one robot name differ in it, a restart does not."""

    id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Of the host's boot and the robot's folder."""
    name: Annotated[str, msgspec.Meta(max_length=300, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")] = ""
    """Host and folder, for people, in one line."""


class InstallStage(enum.StrEnum):
    """How far a version came on a robot."""

    RECEIVED = "received"
    VERIFIED = "verified"
    INSTALLED = "installed"
    ACTING = "acting"
    """The first control step on it was taken."""
    REFUSED = "refused"


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a robot reports about one version."""

    robot: WireName
    version: VersionNumber
    stage: InstallStage
    since_received_s: float
    """Time since the bundle arrived, on the robot's steady clock."""
    detail: Detail = ""
    """Why it was refused; notes on allowed differences."""
    fallback_version: int | None = None
    """For a version refused while it acted (NaN or infinity): the version that acts instead, 0 for none. Else None."""

    @property
    def failed(self) -> bool:
        """Whether the version was refused while it acted; a refusal on arrival may have come before."""
        return self.fallback_version is not None


# From the fleet manager


class Announcement(Message, frozen=True, kw_only=True):
    """Broadcast: a version with its bundle."""

    version: int
    epoch: int
    bundle: bytes
    only: tuple[str, ...] = ()
    """Robots it is for; empty means all but those in `but`."""
    but: tuple[str, ...] = ()
    """Robots that are pinned: it is not for them."""


class Target(Message, frozen=True, kw_only=True):
    """The version that the robot should act on; 0 while there is none."""

    version: int
    epoch: int
    drain: bool = False
    """Finish the episode and start no other."""


class PolicyDelivery(Message, frozen=True, kw_only=True):
    """A version with its bundle, sent to one robot."""

    version: int
    epoch: int
    bundle: bytes


class ReceiptAck(Message, frozen=True, kw_only=True):
    """The receipt is on disk."""

    robot: str
    version: int
    stage: InstallStage
    failed: bool = False
    """`Receipt.failed`. A fleet manager older than this field always sends False."""


class NameRefusal(Message, frozen=True, kw_only=True):
    """To a heartbeat or a receipt: another host has this robot's name and is at work. One line says which."""

    reason: str


class Refusal(Message, frozen=True, kw_only=True):
    """The request can't be fulfilled; one line says why."""

    reason: str


# From a robot


class Heartbeat(Message, frozen=True, kw_only=True):
    """A robot is alive and acts on this version. Answered by `Target`, or by `NameRefusal`."""

    robot: WireName
    boot_id: Digest
    host: RobotHost = RobotHost()
    contract: Digest
    version: VersionNumber
    """Installed last: the next control step is taken on it."""
    epoch: VersionNumber = 0
    """Of that version; 0 where it is not known."""
    sha256: Digest = ""
    """Name of that version's policy (`Manifest.sha256`); empty where it is not known."""
    secret: Secret = ""
    acting: VersionNumber = 0
    """Version of the last control step; 0 before the first since the robot started."""
    idle: bool = False
    """No episode runs."""
    drained: bool = False
    """It starts no episode, whoever drained it."""
    estop: bool = False
    """Its e-stop latch is set."""


class FetchPolicy(Message, frozen=True, kw_only=True):
    """Send this version (0: the one in production). Answered by `PolicyDelivery`."""

    version: VersionNumber = 0


class ReceiptReport(Message, frozen=True, kw_only=True):
    """A receipt, repeated until answered by `ReceiptAck`."""

    receipt: Receipt
    host: RobotHost = RobotHost()
    secret: Secret = ""


RobotRequest = Heartbeat | FetchPolicy | ReceiptReport
RobotReply = Target | PolicyDelivery | ReceiptAck | NameRefusal | Refusal

ROBOT_REPLIES: msgspec.msgpack.Decoder[RobotReply] = msgspec.msgpack.Decoder(RobotReply)
ANNOUNCEMENTS: msgspec.msgpack.Decoder[Announcement] = msgspec.msgpack.Decoder(Announcement)
