"""fleet_manager_node: the fleet manager, with operators' services and the fleet's topics around it.

The manager itself is the very same as without ROS (`processes.fleet_manager`), in a thread of its own; everything here
asks it through its own port, as the command line does. Orders, stops and questions each have their own executor, and
orders and stops do what takes long in threads of their own: none waits for another.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rclpy.node import Node

from floop_interfaces.srv import FleetStatus, ListPolicies
from floop_robot.ros.node import topics
from floop_robot.ros.arm.convert import to_time
from floop_robot.ros.node.diagnostics import ERROR, OK, WARN, Diagnostics, Health
from floop_robot.ros.fleet.fleet_convert import each_that_fits, fleet_to_msg, verdict_to_msg, version_to_msg
from floop_robot.ros.fleet.fleet_services import FleetOrders
from floop_robot.ros.fleet.fleet_estop import FleetStop
from floop_robot.ros.fleet.fleet_publisher import FleetVoice
from floop_robot.ros.node.main import Ros, run
from floop_robot.ros.node.parameters import Parameters
from floop_robot.ros.node.qos import CALLS
from floop_robot.ros.node.robot_parameters import CONFIG
from floop_robot.services import fleet_manager
from floop_robot.deploy import FleetClient
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.spec.errors import FloopError

QUESTION_TIMEOUT_S: Final = 5.0
LOOK_TIMEOUT_S: Final = 1.0
AUDIT_TIMEOUT_S: Final = 0.5
"""A stop's answer does not wait longer for the audit."""
SILENT_S: Final = 3.0
"""A robot that said nothing for this long is worth a warning."""


class ManagerThread:
    """The fleet manager beside ROS, from before the first question until after the last.

    `ended` is set when it ends by itself.
    """

    def __init__(self, config: FloopConfig, ended: threading.Event) -> None:
        self._config, self._ended, self._stop = config, ended, threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fleet-manager")

    def __enter__(self) -> ManagerThread:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raises what the fleet manager raised."""
        self._stop.set()
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            fleet_manager.run(self._config, self._stop)
        except BaseException as error:  # handed to the thread that joins
            self._failure = error
        finally:
            self._ended.set()


class FleetQuestions:
    """Serves what only reads."""

    def __init__(self, node: Node, client: FleetClient) -> None:
        """`client` is this service's alone."""
        self._client = client
        node.create_service(FleetStatus, topics.FLEET_STATUS, self._status, qos_profile=CALLS)
        node.create_service(ListPolicies, topics.LIST_POLICIES, self._list, qos_profile=CALLS)

    def _status(self, _: FleetStatus.Request, answer: FleetStatus.Response) -> FleetStatus.Response:
        try:
            answer.state = fleet_to_msg(self._client.status())
            answer.success = True
        except FloopError as error:
            answer.message = str(error)
        return answer

    def _list(self, request: ListPolicies.Request, answer: ListPolicies.Response) -> ListPolicies.Response:
        try:
            status, found = self._client.status(), self._client.policies()
            candidates = self._client.candidates() if request.with_verdicts else ()
        except FloopError as error:
            answer.message = str(error)
            return answer
        live = {each.sha256: each for each in status.live}
        asked = found.versions[-request.last if request.last else 0 :]
        answer.policies = each_that_fits(
            lambda v: version_to_msg(v, live.get(v.sha256), v.version in status.confirmed), asked
        )
        answer.verdicts = each_that_fits(verdict_to_msg, candidates)
        left_out = len(asked) - len(answer.policies) + len(candidates) - len(answer.verdicts)
        answer.stamp = to_time(status.stamp_ns)
        answer.production_version, answer.baseline_version = found.production, found.baseline
        more = f"; {left_out} entries fit no message and are left out, the log says which" if left_out else ""
        answer.success, answer.message = True, f"{len(found.versions)} versions{more}"
        return answer


def health(voice: FleetVoice) -> Iterator[Health]:
    """The fleet manager's line on `/diagnostics`."""
    status = voice.status
    if voice.silent or status is None:
        yield Health("fleet", ERROR, voice.silent or "starting")
        return
    silent = [r.robot for r in status.robots if r.silent_s > SILENT_S]
    trouble = status.trouble or (f"silent: {', '.join(silent)}" if silent else "")
    values = {
        "production_version": status.production,
        "epoch": status.epoch,
        "robots": len(status.robots),
        "silent_robots": len(silent),
        "accepted": status.accepted,
        "rejected": status.rejected,
        "dropped_messages": status.dropped_messages,
    }
    yield Health(
        "fleet",
        ERROR if status.trouble else WARN if silent else OK,
        trouble or f"v{status.production} in production",
        tuple((name, str(value)) for name, value in values.items()),
    )


@contextlib.contextmanager
def answering(ordering: FleetOrders, stopping: FleetStop) -> Iterator[None]:
    """Orders and stops meanwhile; at the end whoever waits is answered.

    Both end at the same time: one after the other, with an order and a release that take long, they would need more
    than a supervisor grants (`supervisor.GRACE_S`).
    """
    stops_end = threading.Thread(target=stopping.close, name="stops-end")
    with contextlib.ExitStack() as last:
        last.callback(stops_end.join)
        last.enter_context(ordering)
        last.callback(stops_end.start)
        yield


def serve(ros: Ros) -> None:
    """Until a signal, or until the fleet manager ends; raises what it raised."""
    node, orders, stops = ros.node("fleet_manager_node"), ros.node("fleet_orders"), ros.node("fleet_stop")
    asking = ros.node("fleet_stop_asking")
    path = Parameters(node, (CONFIG,)).text(CONFIG.name)
    config = load_config(Path(path) if path else None)
    with contextlib.ExitStack() as opened:

        def client(timeout_s: float) -> FleetClient:
            return opened.enter_context(FleetClient(config.endpoints.fleet_rpc, timeout_s=timeout_s))

        voice = FleetVoice(node, client(LOOK_TIMEOUT_S))
        ordering = FleetOrders(orders, config)
        stopping = FleetStop(stops, asking, config.robot_names, client(AUDIT_TIMEOUT_S))
        served = (
            FleetQuestions(node, client(QUESTION_TIMEOUT_S)),
            Diagnostics(node, "fleet", lambda: health(voice)),
        )
        opened.enter_context(ManagerThread(config, ros.stop))
        opened.enter_context(voice)
        for each in (node, orders, stops, asking):
            opened.enter_context(ros.spinning(each))
        opened.enter_context(answering(ordering, stopping))  # ends before the executors, which carry the answers
        ros.stop.wait()
    del served


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    return run("fleet_manager_node", serve, argv)


if __name__ == "__main__":
    sys.exit(main())
