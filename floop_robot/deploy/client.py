"""FleetClient: asks the fleet manager, for operators, the gate, ROS nodes and the screen."""

from __future__ import annotations

import getpass
import socket
import time
from types import TracebackType
from typing import TypeVar

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import FetchPolicy, PolicyDelivery, Refusal
from floop_robot.deploy.commands import AnyCommand, CommandResult
from floop_robot.deploy.convergence import Convergence, DesiredState
from floop_robot.deploy.messages import (
    REPLIES,
    CandidateSubmission,
    FleetStatus,
    GetFleetStatus,
    GetNews,
    GetPolicies,
    GetRobots,
    News,
    Policies,
    Reply,
    Request,
    Robots,
    SubmissionResult,
)
from floop_robot.deploy.registry import CandidateInfo
from floop_robot.deploy.request_queue import LocalRpcClient, RequestQueue
from floop_robot.spec.errors import FloopError
from floop_robot.spec.verdict import Verdict
from floop_robot.transport.rpc_client import RpcClient

POLL_PERIOD_S = 0.02
"""How often a client looks at the robots that it waits for."""
T = TypeVar("T", bound=Reply)


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

    def __init__(
        self, endpoint: str | RequestQueue, who: str = "", timeout_s: float = 5.0, token: str = ""
    ) -> None:
        """`endpoint`: `Endpoints.fleet_rpc`, or the queue of the fleet manager that runs in this process.

        `who` signs commands, `this_person()` by default; `token` is the operator's, where the fleet asks for one.
        """
        self.who, self.token = who or this_person(), token
        self._timeout_s = timeout_s
        self._rpc_client: RpcClient[Reply] | LocalRpcClient
        if isinstance(endpoint, RequestQueue):
            self.endpoint, self._rpc_client = "this process", LocalRpcClient(endpoint)
        else:
            self.endpoint, self._rpc_client = endpoint, RpcClient(endpoint, REPLIES)

    def __enter__(self) -> FleetClient:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._rpc_client.close()

    def status(self) -> FleetStatus:
        """How the fleet is."""
        return self._ask(GetFleetStatus(), FleetStatus)

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

    def send_command(self, command: AnyCommand) -> CommandResult:
        """Have a command carried out; `FleetUnreachable` says whether it may have been, though no answer came."""
        try:
            return self._ask(command, CommandResult)
        except FleetUnreachable:
            if not self._rpc_client.sent:
                raise
        raise FleetUnreachable(
            f"the fleet manager at {self.endpoint} did not answer within {self._timeout_s:g} s: not known whether "
            "this command was carried out, or will be yet; `floop status` shows it"
        )

    def wait_for(self, desired: DesiredState, wait_s: float) -> Convergence:
        """Look at the robots until they have reached the desired state or time is over."""
        deadline_s = time.monotonic() + wait_s
        first = found = desired.evaluate(self.robots().robots)
        while found.pending and time.monotonic() < deadline_s:
            time.sleep(POLL_PERIOD_S)
            found = desired.evaluate(self.robots().robots, first)
        return found

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
