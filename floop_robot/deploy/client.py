"""FleetClient: asks the fleet manager, for operators, the gate, ROS nodes and the screen."""

from __future__ import annotations

import time

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import FetchPolicy, PolicyDelivery, Refusal
from floop_robot.deploy.commands import AnyCommand, CommandResult
from floop_robot.deploy.convergence import Convergence
from floop_robot.deploy.messages import REPLIES, FleetStatus, GetFleetStatus, GetRobots, Reply, Robots
from floop_robot.transport.rpc_client import RpcClient

POLL_PERIOD_S = 0.02
"""How often a client looks at the robots that it waits for."""


class FleetClient(RpcClient[Reply]):
    """Asks and waits for answers, across restarts of the fleet manager."""

    server, start, refusal = "fleet manager", "start the fleet", Refusal

    def __init__(self, endpoint: str, timeout_s: float = 5.0) -> None:
        """`endpoint`: `Endpoints.fleet_rpc`."""
        super().__init__(endpoint, REPLIES, timeout_s)

    def status(self) -> FleetStatus:
        """How the fleet is."""
        return self.ask(GetFleetStatus(), FleetStatus)

    def fetch(self, version: int = 0) -> Bundle:
        """The bundle of a version; 0 means the one in production (the gate's incumbent)."""
        delivery = self.ask(FetchPolicy(version=version), PolicyDelivery)
        return Bundle.from_bytes(delivery.bundle, f"v{version} from {self.endpoint}")

    def send_command(self, command: AnyCommand) -> CommandResult:
        """Have a command carried out; `Unreachable` says whether it may have been, though no answer came."""
        return self.ask(command, CommandResult, is_command=True)

    def wait_for(self, found: Convergence, wait_s: float) -> Convergence:
        """Look at the robots until they have obeyed or time is over; returns `found`."""
        deadline_s = time.monotonic() + wait_s
        while not found.look(self.ask(GetRobots(), Robots).robots) and time.monotonic() < deadline_s:
            time.sleep(POLL_PERIOD_S)
        return found
