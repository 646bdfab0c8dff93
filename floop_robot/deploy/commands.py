"""Operators' commands, one message each. The answer is a `CommandResult` or a refusal.

Each command is carried out once and written into the audit.
"""

from __future__ import annotations

import uuid

import msgspec

from floop_robot.bundle.delivery import VersionNumber
from floop_robot.deploy.registry import FLEET
from floop_robot.durable.framing import Message


class Command(Message, frozen=True, kw_only=True):
    """An operator's command. `call_id` makes a repeated one harmless."""

    call_id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    who: str
    token: str = ""
    """Operator token; checked where the fleet has a token file. Never stored."""
    why: str = ""


class FleetCommand(Command, frozen=True, kw_only=True):
    """A command that changes what robots run."""

    scope: str = FLEET
    """A robot's name, or `FLEET` for all robots."""
    if_version: VersionNumber = 0
    """Carry it out only while `scope` is on this version; 0: always.

    For a push, later versions of the gate don't count."""


class Push(FleetCommand, frozen=True, kw_only=True):
    """Publish a policy without asking the gate: `bundle`, or the bytes of `version` again.

    With a robot's name as scope only that robot gets it, and is then pinned to it.
    """

    bundle: bytes = b""
    version: VersionNumber = 0


class Rollback(FleetCommand, frozen=True, kw_only=True):
    """Publish the bytes of an older version to the fleet again, under a new version."""

    version: VersionNumber = 0
    """0: the one before the version in production."""


class Pin(FleetCommand, frozen=True, kw_only=True):
    """Put `scope` on the bytes of a version, and keep it there: neither updates nor rollbacks reach it."""

    version: VersionNumber


class Hold(FleetCommand, frozen=True, kw_only=True):
    """Let no update reach `scope`. Rollbacks still do, automatic ones and operators', and it stays held after them."""


class Resume(FleetCommand, frozen=True, kw_only=True):
    """End hold and pin of `scope`."""


class Drain(FleetCommand, frozen=True, kw_only=True):
    """Let `scope` finish its episodes and start no others; or, with `drain` false, work again."""

    drain: bool = True


class AuditNote(Command, frozen=True, kw_only=True):
    """Write into the audit what was done elsewhere (a stop, a paused learner). Needs no token: it changes nothing."""

    what: str
    detail: str = ""


class GetScopeVersion(Command, frozen=True, kw_only=True):
    """Change nothing; answer which version `scope` is on, if `who` may give commands.

    Whoever must read a file asks this first, and then sends the command with `if_version`.
    """

    scope: str = FLEET


AnyFleetCommand = Push | Rollback | Pin | Hold | Resume | Drain
AnyCommand = AnyFleetCommand | AuditNote | GetScopeVersion


class CommandResult(Message, frozen=True, kw_only=True):
    """A command was carried out; the fields are those of an `AuditEntry`."""

    who: str
    what: str
    stamp_ns: int
    version: int = 0
    epoch: int = 0
    detail: str = msgspec.field(default="", name="why")
    """The reason that came with the command."""
