"""fleet_manager_node: the fleet manager, with operators' services and the fleet's topics around it.

The manager is the same as without ROS (`services.fleet_manager`), in a thread of its own. Commands and the audit of
e-stops go into its queue directly: one that is given up in time is never done. Queries ask it as everybody does.
Commands, e-stops and queries each have their own executor, and what takes long runs in a thread: none waits for others.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rclpy.node import Node

from floop_interfaces.srv import FleetStatus, ListPolicies
from floop_robot.deploy import FleetClient, Policies, RequestQueue
from floop_robot.deploy.convergence import SILENT_S
from floop_robot.deploy.fleet_stops import FleetStops
from floop_robot.deploy.messages import GetNews, GetPolicies, News
from floop_robot.deploy.registry import CandidateInfo
from floop_robot.ros.fleet.fleet_convert import convert_valid, fleet_to_msg, verdict_to_msg, version_to_msg
from floop_robot.ros.fleet.fleet_estop import FleetEstop
from floop_robot.ros.fleet.fleet_publisher import FleetPublisher
from floop_robot.ros.fleet.fleet_services import FleetCommandServices, read_bundle
from floop_robot.ros.node import topics
from floop_robot.ros.node.diagnostics import DiagnosticsPublisher
from floop_robot.ros.node.main import RosProcess, run
from floop_robot.ros.node.node_parameters import FLEET_MANAGER_PARAMETERS, declare_parameters
from floop_robot.ros.node.robot_parameters import CONFIG
from floop_robot.ros.node.service_calls import answering, create_services
from floop_robot.ros.node.stamps import to_time
from floop_robot.services import fleet_manager
from floop_robot.services.diagnostics import ERROR, OK, WARN, DiagnosticItem
from floop_robot.spec.config import FloopConfig, load_config

QUERY_TIMEOUT_S: Final = 5.0
POLL_TIMEOUT_S: Final = 1.0


@contextlib.contextmanager
def fleet_manager_running(
    config: FloopConfig, requests: RequestQueue, stops: FleetStops, ended: threading.Event
) -> Iterator[None]:
    """Run the fleet manager in a thread meanwhile; raises what it raised. `ended` is set when it ends."""
    stop, failures = threading.Event(), list[BaseException]()

    def serve_requests() -> None:
        try:
            fleet_manager.run(config, stop, requests, stops)
        except BaseException as error:  # handed to the thread that joins
            failures.append(error)
        finally:
            requests.close()
            ended.set()

    thread = threading.Thread(target=serve_requests, name="fleet-manager")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


class FleetQueryServices:
    """Serves fleet status and the list of versions on `node`."""

    def __init__(self, node: Node, client: FleetClient) -> None:
        """`client` belongs to this service alone."""
        self._client = client
        table = (
            (FleetStatus, topics.FLEET_STATUS, answering(self._status)),
            (ListPolicies, topics.LIST_POLICIES, answering(self._list)),
        )
        create_services(node, table)

    async def _status(self, _: FleetStatus.Request, answer: FleetStatus.Response) -> None:
        answer.state = fleet_to_msg(self._client.status())

    async def _list(self, request: ListPolicies.Request, answer: ListPolicies.Response) -> None:
        status, found = self._client.status(), self._client.ask(GetPolicies(), Policies)
        candidates = self._candidates() if request.with_verdicts else []
        live = {each.sha256: each for each in status.live}
        wanted = found.versions[-request.last if request.last else 0 :]
        answer.policies = convert_valid(
            lambda v: version_to_msg(v, live.get(v.sha256), v.version in status.confirmed), wanted
        )
        answer.verdicts = convert_valid(verdict_to_msg, candidates)
        left_out = len(wanted) - len(answer.policies) + len(candidates) - len(answer.verdicts)
        answer.stamp = to_time(status.stamp_ns)
        answer.production_version, answer.baseline_version = found.production, found.baseline
        more = f"; {left_out} entries fit no message and are left out, the log has them" if left_out else ""
        answer.message = f"{len(found.versions)} versions{more}"

    def _candidates(self) -> list[CandidateInfo]:
        """Every judged candidate, refused ones too, oldest first."""
        found: list[CandidateInfo] = []
        asked = GetNews(candidates_after=0)
        while (news := self._client.ask(asked, News)).candidates:
            found.extend(news.candidates)
            asked = GetNews(candidates_after=news.candidates_to)
        return found


def health(publisher: FleetPublisher) -> Iterator[DiagnosticItem]:
    """The fleet manager's line on `/diagnostics`."""
    status = publisher.status
    if publisher.error or status is None:
        yield DiagnosticItem("fleet", ERROR, publisher.error or "starting")
        return
    silent = [r.robot for r in status.robots if r.silent_s > SILENT_S]
    disobeying = [r.robot for r in status.robots if r.stop_pending]
    waits = [f"stop pending: {', '.join(disobeying)}"] if disobeying else []
    problem = status.trouble or "; ".join(waits + ([f"silent: {', '.join(silent)}"] if silent else []))
    values = {"production_version": status.production, "robots": len(status.robots), "silent_robots": len(silent)}
    values |= {name: getattr(status, name) for name in ("epoch", "accepted", "rejected", "dropped_messages")}
    yield DiagnosticItem(
        "fleet",
        ERROR if status.trouble else WARN if problem else OK,
        problem or f"v{status.production} in production",
        values,
    )


@contextlib.contextmanager
def serving_commands(commands: FleetCommandServices, estop: FleetEstop) -> Iterator[None]:
    """Commands and e-stops meanwhile; at the end, whoever waits is answered.

    Both end at the same time: one after the other could take longer than a supervisor grants (`supervisor.GRACE_S`).
    """
    ending = [threading.Thread(target=each.close, name="fleet-close") for each in (commands, estop)]
    estop.start()
    try:
        yield
    finally:
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()


def serve(ros: RosProcess) -> None:
    """Run until a signal, or until the fleet manager ends; raises what the fleet manager raised."""
    node, commands, stops = ros.node("fleet_manager_node"), ros.node("fleet_orders"), ros.node("fleet_stop")
    stop_clients = ros.node("fleet_stop_asking")
    path = declare_parameters(node, FLEET_MANAGER_PARAMETERS).get(CONFIG)
    config = load_config(Path(path) if path else None)
    requests = RequestQueue()
    rpc = config.endpoints.fleet_rpc
    with contextlib.ExitStack() as opened:
        publisher = FleetPublisher(node, opened.enter_context(FleetClient(rpc, POLL_TIMEOUT_S)))
        command_services = FleetCommandServices(commands, requests, lambda request: read_bundle(request, config))
        fleet_estop = FleetEstop(stops, stop_clients, config.robot_names, Path(config.run_dir) / "stops", requests)
        served = (
            FleetQueryServices(node, FleetClient(rpc, QUERY_TIMEOUT_S)),  # not closed: a query may still wait in it
            DiagnosticsPublisher(node, "fleet", lambda: health(publisher)),
        )
        opened.enter_context(fleet_manager_running(config, requests, fleet_estop.stops, ros.stop))
        opened.enter_context(publisher)
        for each in (node, commands, stops, stop_clients):
            opened.enter_context(ros.spinning(each))
        # It ends before the executors, which carry the answers.
        opened.enter_context(serving_commands(command_services, fleet_estop))
        ros.stop.wait()
    del served


main = functools.partial(run, "fleet_manager_node", serve)

if __name__ == "__main__":
    sys.exit(main())
