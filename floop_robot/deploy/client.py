"""FleetClient: what the gate, operators, nodes and the screen ask of the fleet manager."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import TypedDict, TypeVar

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import FetchPolicy, PolicyDelivery, Refusal
from floop_robot.deploy.messages import (
    REPLIES,
    CandidateSubmission,
    CommandResult,
    Drain,
    FleetCommand,
    FleetStatus,
    GetNews,
    GetPolicies,
    GetRobots,
    GetStatus,
    Hold,
    News,
    Pin,
    Policies,
    Push,
    Reply,
    Request,
    Resume,
    Robots,
    RobotStatus,
    Rollback,
    SubmissionResult,
)
from floop_robot.deploy.registry import FLEET, CandidateInfo
from floop_robot.spec.errors import FloopError
from floop_robot.spec.verdict import Verdict
from floop_robot.transport.rpc_client import RpcClient

LOOK_AGAIN_S = 0.02
"""How often robots are looked at while somebody waits for them."""
T = TypeVar("T", bound=Reply)


class _Signed(TypedDict):
    who: str
    token: str
    why: str


class FleetUnreachable(FloopError):
    """No fleet manager answers."""


class FleetRefused(FloopError):
    """The fleet manager can't do what was asked; its reason, in one line."""


def this_person() -> str:
    """Who gives commands here, as the audit shows it: `user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


class FleetClient:
    """Asks and waits for answers, across restarts of the fleet manager; for one thread, a context manager."""

    def __init__(self, endpoint: str, who: str = "", timeout_s: float = 5.0, token: str = "") -> None:
        """`endpoint`: `Endpoints.fleet_rpc`. `who` signs commands; left out, it is `this_person()`.

        `token`: the operator's, where the fleet asks for one.
        """
        self.endpoint, self.token = endpoint, token
        self.who = who or this_person()
        self._timeout_s = timeout_s
        self._rpc_client = RpcClient(endpoint, REPLIES)

    def __enter__(self) -> FleetClient:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._rpc_client.close()

    def status(self) -> FleetStatus:
        """How the fleet is."""
        return self._ask(GetStatus(), FleetStatus)

    def policies(self) -> Policies:
        """All versions, oldest first."""
        return self._ask(GetPolicies(), Policies)

    def fetch(self, version: int = 0) -> Bundle:
        """The bundle of a version; 0 means the one in production (the gate's incumbent)."""
        return Bundle.from_bytes(
            self._ask(FetchPolicy(version=version), PolicyDelivery).bundle, f"v{version} from {self.endpoint}"
        )

    def submit(self, bundle: Bundle, verdict: Verdict) -> SubmissionResult:
        """Hand in a judged candidate, accepted or not; may be repeated after any failure."""
        return self._ask(CandidateSubmission(who=self.who, verdict=verdict, bundle=bundle.to_bytes()), SubmissionResult)

    def robots(self) -> Robots:
        """Which robot runs what."""
        return self._ask(GetRobots(), Robots)

    def news(self, audit_after: int = -1, candidates_after: int = -1) -> News:
        """What the registry wrote down after these positions."""
        return self._ask(GetNews(audit_after=audit_after, candidates_after=candidates_after), News)

    def candidates(self) -> tuple[CandidateInfo, ...]:
        """Every judged candidate, refused ones too, oldest first."""
        found: list[CandidateInfo] = []
        after = 0
        while (news := self.news(candidates_after=after)).candidates:
            found.extend(news.candidates)
            after = news.candidates_to
        return tuple(found)

    def send_command(self, command: FleetCommand) -> CommandResult:
        """Have any command carried out; `FleetUnreachable` says whether it may have been, though no answer came."""
        try:
            return self._ask(command, CommandResult)
        except FleetUnreachable:
            if not self._rpc_client.sent:
                raise
        raise FleetUnreachable(
            f"the fleet manager at {self.endpoint} did not answer within {self._timeout_s:g} s: not known whether "
            "this command was carried out, or will be yet; `floop status` shows it"
        )

    def push(self, bundle: Bundle, why: str = "", scope: str = FLEET) -> CommandResult:
        """Publish a bundle, whatever the gate thinks of it; on one robot alone, if `scope` names it."""
        return self.send_command(Push(bundle=bundle.to_bytes(), scope=scope, **self._signed(why)))

    def push_version(self, version: int, why: str = "", scope: str = FLEET) -> CommandResult:
        """Publish a version's bytes again."""
        return self.send_command(Push(version=version, scope=scope, **self._signed(why)))

    def rollback(self, version: int = 0, why: str = "") -> CommandResult:
        """Publish an older version's bytes again; 0 means the one before production."""
        return self.send_command(Rollback(version=version, **self._signed(why)))

    def pin(self, scope: str, version: int, why: str = "") -> CommandResult:
        """Put a robot, or `FLEET`, on a version's bytes and keep it there."""
        return self.send_command(Pin(scope=scope, version=version, **self._signed(why)))

    def hold(self, scope: str, why: str = "") -> CommandResult:
        """Keep a robot, or `FLEET`, on what it has."""
        return self.send_command(Hold(scope=scope, **self._signed(why)))

    def resume(self, scope: str, why: str = "") -> CommandResult:
        """End hold and pin of a robot, or `FLEET`."""
        return self.send_command(Resume(scope=scope, **self._signed(why)))

    def drain(self, scope: str, drain: bool = True, why: str = "") -> CommandResult:
        """Have a robot, or `FLEET`, finish its episode and start no other; or work again."""
        return self.send_command(Drain(scope=scope, drain=drain, **self._signed(why)))

    def wait_for(self, robots: Collection[str], is_reached: Callable[[RobotStatus], bool], timeout_s: float) -> Robots:
        """Look until every one of `robots` is there or time is over; returns the last look."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.robots()
            waiting = [r for r in found.robots if r.robot in robots and not is_reached(r)]
            if not waiting or time.monotonic() >= deadline:
                return found
            time.sleep(LOOK_AGAIN_S)

    def _signed(self, why: str) -> _Signed:
        return {"who": self.who, "token": self.token, "why": why}

    def _ask(self, request: Request, kind: type[T]) -> T:
        """Send until answered; raises `FleetUnreachable` after the timeout, and `FleetRefused`."""
        reply = self._rpc_client.ask(request, (kind, Refusal), self._timeout_s)
        if isinstance(reply, Refusal):
            raise FleetRefused(reply.reason)
        if isinstance(reply, kind):
            return reply
        raise FleetUnreachable(
            f"no fleet manager answers at {self.endpoint} within {self._timeout_s:g} s; "
            "start the fleet, or check endpoints in the config"
        )
