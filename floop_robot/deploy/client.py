"""FleetClient: asks the fleet manager, for operators, the gate, ROS nodes and the screen."""

from __future__ import annotations

import time
from typing import TypeVar

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import FetchPolicy, PolicyDelivery, Refusal
from floop_robot.deploy.commands import AnyCommand, CommandResult
from floop_robot.deploy.convergence import Convergence
from floop_robot.deploy.messages import REPLIES, FleetStatus, GetFleetStatus, GetRobots, Reply, Request, Robots
from floop_robot.deploy.request_queue import RequestQueue
from floop_robot.spec.errors import FloopError
from floop_robot.transport.rpc_client import RpcClient

POLL_PERIOD_S = 0.02
"""How often a client looks at the robots that it waits for."""
T = TypeVar("T", bound=Reply)


class FleetUnreachable(FloopError):
    """No fleet manager answers."""


class FleetRefused(FloopError):
    """The fleet manager can't do what was asked; its reason, in one line."""


class FleetClient:
    """Asks and waits for answers, across restarts of the fleet manager; for one thread, a context manager."""

    def __init__(self, endpoint: str | RequestQueue, timeout_s: float = 5.0) -> None:
        """`endpoint`: `Endpoints.fleet_rpc`, or the queue of the fleet manager that runs in this process."""
        self.endpoint = endpoint if isinstance(endpoint, str) else "this process"
        self._timeout_s = timeout_s
        self._rpc_client = RpcClient(endpoint, REPLIES) if isinstance(endpoint, str) else endpoint

    def close(self) -> None:
        """Close the connection."""
        if isinstance(self._rpc_client, RpcClient):
            self._rpc_client.close()

    def __enter__(self) -> FleetClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: Request, kind: type[T]) -> T:
        """The answer to a request, which is of this kind; repeats the request until it comes.

        Raises `FleetUnreachable` after the timeout, and `FleetRefused`.
        """
        reply = self._rpc_client.ask(request, (kind, Refusal), self._timeout_s)
        if isinstance(reply, Refusal):
            raise FleetRefused(reply.reason)
        if isinstance(reply, kind):
            return reply
        if isinstance(self._rpc_client, RequestQueue):
            raise FleetUnreachable(f"the fleet manager is busy: no answer within {self._timeout_s:g} s")
        raise FleetUnreachable(
            f"no fleet manager answers at {self.endpoint} within {self._timeout_s:g} s; "
            "start the fleet, or check endpoints in the config"
        )

    def status(self) -> FleetStatus:
        """How the fleet is."""
        return self.ask(GetFleetStatus(), FleetStatus)

    def fetch(self, version: int = 0) -> Bundle:
        """The bundle of a version; 0 means the one in production (the gate's incumbent)."""
        delivery = self.ask(FetchPolicy(version=version), PolicyDelivery)
        return Bundle.from_bytes(delivery.bundle, f"v{version} from {self.endpoint}")

    def send_command(self, command: AnyCommand) -> CommandResult:
        """Have a command carried out; `FleetUnreachable` says whether it may have been, though no answer came."""
        try:
            return self.ask(command, CommandResult)
        except FleetUnreachable:
            if not self._rpc_client.sent:
                raise
        raise FleetUnreachable(
            f"the fleet manager at {self.endpoint} did not answer within {self._timeout_s:g} s: not known whether "
            "this command was carried out, or will be yet; `floop status` shows it"
        )

    def wait_for(self, found: Convergence, wait_s: float) -> Convergence:
        """Look at the robots until they have obeyed or time is over; returns `found`."""
        deadline_s = time.monotonic() + wait_s
        while not found.look(self.ask(GetRobots(), Robots).robots) and time.monotonic() < deadline_s:
            time.sleep(POLL_PERIOD_S)
        return found
