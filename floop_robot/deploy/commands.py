"""What operators command: one message per command. Answered by `CommandResult` or a refusal; carried out once, and audited."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec

from floop_robot.bundle.delivery import VersionNumber
from floop_robot.deploy.registry import FLEET
from floop_robot.durable.framing import Message
from floop_robot.spec.bounds import MAX_INT

Position = Annotated[int, msgspec.Meta(ge=-1, le=MAX_INT)]
"""In the audit or among candidates; -1: none."""


class Command(Message, frozen=True, kw_only=True):
    """An operator's command. `call_id` makes a repeated one harmless."""

    call_id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    who: str
    token: str = ""
    """Operator token; looked at where the fleet has a file of them. Never stored."""
    why: str = ""


class Push(Command, frozen=True, kw_only=True):
    """Publish a policy, whatever the gate thinks of it: `bundle`, or the bytes of `version` again."""

    bundle: bytes = b""
    version: VersionNumber = 0
    scope: str = FLEET
    """A robot's name puts it on that robot alone, which is then pinned to it."""
    accepted_at: Position = -1
    """Of one that had to wait: where the audit ended when it was taken. It undoes no command that came since."""


class Rollback(Command, frozen=True, kw_only=True):
    """Publish the bytes of an older version again, under a new one."""

    version: VersionNumber = 0
    """0: the one before the version in production."""


class Pin(Command, frozen=True, kw_only=True):
    """Put `scope` (a robot, or `FLEET`) on the bytes of a version, and keep it there."""

    scope: str
    version: VersionNumber


class Hold(Command, frozen=True, kw_only=True):
    """Keep `scope` on what it has: no newer version follows by itself."""

    scope: str


class Resume(Command, frozen=True, kw_only=True):
    """End hold and pin of `scope`."""

    scope: str


class Drain(Command, frozen=True, kw_only=True):
    """Let `scope` finish its episodes and start no others; or, with `drain` false, work again."""

    scope: str
    drain: bool = True


class AuditNote(Command, frozen=True, kw_only=True):
    """Write into the audit what was done elsewhere (a stop, a paused learner). Needs no token: it changes nothing."""

    what: str
    detail: str = ""


FleetCommand = Push | Rollback | Pin | Hold | Resume | Drain | AuditNote


class CommandResult(Message, frozen=True, kw_only=True):
    """A command was carried out: who, what, when, why."""

    who: str
    what: str
    stamp_ns: int
    version: int = 0
    epoch: int = 0
    why: str = ""
