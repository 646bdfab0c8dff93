"""The messages between operators and the learner process, and LearnerClient, which sends them. Needs no torch."""

from __future__ import annotations

from typing import Final

import msgspec

from floop_robot.deploy import AuditNote, FleetClient
from floop_robot.deploy.commands import Command, CommandResult
from floop_robot.durable.framing import Message
from floop_robot.learn.status import LearnerStatus
from floop_robot.spec.errors import FloopError
from floop_robot.transport.rpc_client import RpcClient

DISK_S: Final = 20.0
"""How long a checkpoint may take to reach a slow disk."""


class GetLearnerStatus(Message, frozen=True, kw_only=True):
    """Asks for the learner's status, which anyone may; answered by `LearnerStatus`."""


class Pause(Command, frozen=True, kw_only=True):
    """Stop gradient steps and candidates, or resume them with `pause` false; survives restarts of the learner."""

    pause: bool


class WriteCheckpoint(Command, frozen=True, kw_only=True):
    """Write a checkpoint now; answered when it is on disk."""


class LearnerCommandResult(Message, frozen=True, kw_only=True):
    """A command was carried out."""

    done: CommandResult
    status: LearnerStatus


class LearnerCommandRefused(Message, frozen=True, kw_only=True):
    """A command was not carried out; the reason in one line."""

    reason: str


Request = GetLearnerStatus | Pause | WriteCheckpoint
Reply = LearnerStatus | LearnerCommandResult | LearnerCommandRefused
REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class LearnerClient(RpcClient[Reply]):
    """Sends requests to the learner."""

    server, refusal = "learner", LearnerCommandRefused

    def __init__(self, endpoint: str, timeout_s: float = 5.0) -> None:
        """`endpoint`: `Endpoints.learner`."""
        super().__init__(endpoint, REPLIES, timeout_s)

    def status(self) -> LearnerStatus:
        """Its status; raises `Unreachable`."""
        return self.ask(GetLearnerStatus(), LearnerStatus)

    def send_command(self, request: Pause | WriteCheckpoint, timeout_s: float | None = None) -> LearnerCommandResult:
        """Have it pause, resume or write a checkpoint; raises `Unreachable` or `Refused`."""
        return self.ask(request, LearnerCommandResult, timeout_s, is_command=True)


def send_audited(
    learner: LearnerClient, fleet: FleetClient, command: Pause | WriteCheckpoint
) -> tuple[LearnerCommandResult, CommandResult | None]:
    """Have the learner carry out a command, and the fleet manager audit it; None: no fleet manager did.

    Raises `Unreachable` or `Refused`.
    """
    learner.status()  # a learner that is away shows sooner than a command would
    found = learner.send_command(command, DISK_S)
    done = found.done
    try:
        note = AuditNote(call_id=f"learner {command.call_id}", who=done.who, what=done.what, why=done.detail)
        return found, fleet.send_command(note)
    except FloopError:
        return found, None
