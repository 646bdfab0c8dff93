"""What operators and the learner process say to each other, and LearnerClient, which asks. Needs no torch."""

from __future__ import annotations

import enum
from typing import TypeVar

import msgspec

from floop_robot.deploy.commands import Command, CommandResult
from floop_robot.durable.framing import Message
from floop_robot.spec.errors import FloopError
from floop_robot.transport.rpc_client import RpcClient

T = TypeVar("T", bound="Reply")


class LearnerState(enum.StrEnum):
    """What the learner is about."""

    STARTING = "starting"
    """Rebuilds its replay from the journal."""
    LEARNING = "learning"
    WAITING = "waiting"
    """Has used up what arrived, at the configured pace."""
    PAUSED = "paused"
    DOWN = "down"
    """Doesn't answer; said by others, never by the learner."""


class GetReport(Message, frozen=True, kw_only=True):
    """Anyone: how is the learner? Answered by `LearnerReport`."""


class Pause(Command, frozen=True, kw_only=True):
    """No gradient steps and no candidates; or, with `pause` false, go on. Survives restarts of the learner."""

    pause: bool


class WriteCheckpoint(Command, frozen=True, kw_only=True):
    """Write a checkpoint now; answered when it is on disk."""


class LearnerReport(Message, frozen=True, kw_only=True):
    """How the learner is; losses and latencies are NaN before the first."""

    state: LearnerState
    algo: str
    task: str
    gradient_steps: int = 0
    robot_rows: int = 0
    explorer_rows: int = 0
    demonstration_rows: int = 0
    foreign_rows: int = 0
    dropped_rows: int = 0
    stale_rows: int = 0
    steps_per_s: float = 0.0
    updates_per_transition: float = 0.0
    owed: int = 0
    journal_block: int = 0
    actor_loss: float = float("nan")
    critic_loss: float = float("nan")
    alpha: float = float("nan")
    entropy: float = float("nan")
    latency_p50_s: float = float("nan")
    latency_p99_s: float = float("nan")
    latency_implausible: int = 0
    weights_version: int = 0
    candidates: int = 0
    last_candidate_sha256: str = ""
    checkpoint_ns: int = 0
    """When the last checkpoint was written, wall clock; 0 before the first."""
    checkpoint_path: str = ""
    detail: str = ""


class LearnerCommandResult(Message, frozen=True, kw_only=True):
    """A call was carried out."""

    done: CommandResult
    report: LearnerReport


class LearnerCommandRefused(Message, frozen=True, kw_only=True):
    """A call was not carried out: one line for a person."""

    reason: str


Request = GetReport | Pause | WriteCheckpoint
Reply = LearnerReport | LearnerCommandResult | LearnerCommandRefused
REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class LearnerUnreachable(FloopError):
    """No learner answers."""


class LearnerRefused(FloopError):
    """The learner can't do what was asked; its reason, in one line."""


class LearnerClient:
    """Asks the learner; for one thread at a time, a context manager."""

    def __init__(self, endpoint: str, timeout_s: float = 5.0) -> None:
        """`endpoint`: `Endpoints.learner`."""
        self.endpoint, self._timeout_s = endpoint, timeout_s
        self._rpc_client = RpcClient(endpoint, REPLIES)

    def __enter__(self) -> LearnerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._rpc_client.close()

    def report(self) -> LearnerReport:
        """How it is; raises `LearnerUnreachable`."""
        return self._ask(GetReport(), LearnerReport)

    def send_command(self, request: Pause | WriteCheckpoint, timeout_s: float | None = None) -> LearnerCommandResult:
        """Have it pause, go on or write a checkpoint; raises `LearnerUnreachable` or `LearnerRefused`."""
        return self._ask(request, LearnerCommandResult, timeout_s)

    def _ask(self, request: Request, kind: type[T], timeout_s: float | None = None) -> T:
        timeout_s = timeout_s or self._timeout_s
        reply = self._rpc_client.ask(request, (kind, LearnerCommandRefused), timeout_s)
        if isinstance(reply, LearnerCommandRefused):
            raise LearnerRefused(reply.reason)
        if isinstance(reply, kind):
            return reply
        raise LearnerUnreachable(
            f"no learner answers at {self.endpoint} within {timeout_s:g} s; "
            "start it, or check endpoints in the config"
        )
