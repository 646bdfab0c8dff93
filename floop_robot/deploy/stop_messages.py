"""E-stops between operators, the fleet manager and its robots."""

from __future__ import annotations

import uuid

import msgspec

from floop_robot.durable.framing import Message
from floop_robot.spec.estop import EstopState


class PendingStop(Message, frozen=True, kw_only=True):
    """A stop that a robot has not obeyed yet. The same on disk."""

    robot: str
    request_id: str
    who: str
    why: str
    before: str | None = None
    """The robot's `stop_id` when this stop was heard; None: the robot had not been heard."""


class EstopRef(msgspec.Struct, frozen=True, kw_only=True):
    """Names one stop of one robot in a reset."""

    robot: str
    stop_id: str
    nonce: str


class ResetResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a reset at one robot."""

    robot: str
    success: bool
    message: str


class StopRobots(Message, frozen=True, kw_only=True):
    """Anyone: stop these robots (empty: all). Answered by `EstopReport`; a repeated `request_id` changes nothing."""

    robots: tuple[str, ...] = ()
    who: str
    why: str = ""
    request_id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)


class GetEstops(Message, frozen=True, kw_only=True):
    """Anyone: how are the e-stops? Answered by `EstopReport`."""


class ResetRobots(Message, frozen=True, kw_only=True):
    """Operator: reset these stops. Answered by `ResetReport`; sent again with its `call_id`, it asks for the rest."""

    stops: tuple[EstopRef, ...]
    who: str
    token: str = ""
    why: str = ""
    call_id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)


class RobotEstop(msgspec.Struct, frozen=True):
    """A robot's e-stop as the fleet manager knows it."""

    robot: str
    state: EstopState | None
    """None: it was not heard since the manager started."""
    pending: PendingStop | None


class EstopReport(Message, frozen=True, kw_only=True):
    """Every robot's e-stop."""

    robots: tuple[RobotEstop, ...]
    kept: bool
    """All pending stops are on the fleet manager's disk."""
    error: str
    """What its disk cannot do; empty when all is well."""


class ResetReport(Message, frozen=True, kw_only=True):
    """What became of a reset so far: robots that have not answered are left out."""

    results: tuple[ResetResult, ...]
