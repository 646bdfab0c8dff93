"""FleetPublisher: publishes the fleet's state, verdicts and audit, from a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from rclpy.node import Node

from floop_interfaces.msg import AuditEntry, FleetState, GateVerdict
from floop_robot.deploy import FleetClient, FleetStatus, Robots, Unreachable
from floop_robot.deploy.messages import GetNews, GetRobots, News
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.ros.fleet.fleet_convert import audit_to_msg, convert_valid, fleet_to_msg, verdict_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import AUDIT, EVENTS, LATCHED
from floop_robot.spec.errors import FloopError

POLL_PERIOD_S: Final = 0.2
"""How soon a change is seen."""
STATE_PERIOD_S: Final = 1.0
"""How often the state is published without a change."""

log = logging.getLogger(__name__)


class FleetPublisher:
    """Polls the fleet manager and publishes what is new; a context manager."""

    def __init__(self, node: Node, client: FleetClient) -> None:
        """`client` belongs to this thread alone."""
        self._client = client
        self._state = node.create_publisher(FleetState, topics.in_site(node, topics.FLEET_STATE), LATCHED)
        self._verdict = node.create_publisher(GateVerdict, topics.in_site(node, topics.FLEET_VERDICT), EVENTS)
        self._audit = node.create_publisher(AuditEntry, topics.in_site(node, topics.FLEET_AUDIT), AUDIT)
        self._news = GetNews()
        """Asks for audit and verdicts that were not published yet; at the first poll for none."""
        self._last_published: tuple[object, ...] = ()
        self._due_s = 0.0
        self.status: FleetStatus | None = None
        """The state that was published last."""
        self.error = ""
        """Why the fleet's state cannot be published; empty when it can."""
        self._stop = threading.Event()
        self._thread = OwnedThread(self._run, "fleet-publisher", self._stop)

    def __enter__(self) -> FleetPublisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(POLL_PERIOD_S):
            try:
                self._poll()
                self.error = ""
            except Unreachable as error:
                self.error = str(error)
            except FloopError as error:
                self._note_error(str(error))
            except Exception as error:  # whatever rclpy raises must not end this thread
                self._note_error(f"the fleet's state cannot be published: {type(error).__name__}: {error}")

    def _note_error(self, error: str) -> None:
        if error != self.error and not self._stop.is_set():
            log.warning("fleet: %s", error)
        self.error = error

    def _poll(self) -> None:
        news, robots = self._client.ask(self._news, News), self._client.ask(GetRobots(), Robots)
        self._news = GetNews(audit_after=news.audit_to, candidates_after=news.candidates_to)
        convert_valid(lambda entry: self._audit.publish(audit_to_msg(entry)), news.audit)
        convert_valid(lambda candidate: self._verdict.publish(verdict_to_msg(candidate)), news.candidates)
        now = time.monotonic()
        seen = _state_key(news, robots)
        if seen != self._last_published or now >= self._due_s:
            self.status = self._client.status()
            self._state.publish(fleet_to_msg(self.status))
            self._last_published, self._due_s = seen, now + STATE_PERIOD_S


def _state_key(news: News, robots: Robots) -> tuple[object, ...]:
    """Equal while the state did not change; how long robots are silent does not count."""
    each = tuple(
        (r.robot, r.version, r.acting, r.target, r.directive, r.drained, r.estop, r.stop_pending) for r in robots.robots
    )
    return news.audit_to, news.candidates_to, robots.production, each
