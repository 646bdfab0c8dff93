"""`/learner/pause` and `/learner/checkpoint`."""

from __future__ import annotations

import logging
from typing import Any, Final

from rclpy.node import Node

from floop_interfaces import msg
from floop_interfaces.srv import CheckpointLearner, PauseLearner
from floop_robot.deploy import AuditNote, CommandResult, FleetClient
from floop_robot.ros.fleet.fleet_convert import done_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.convert import to_message
from floop_robot.ros.node.qos import CALLS
from floop_robot.ros.node.service_calls import audit_entry
from floop_robot.services.learner_client import LearnerClient, LearnerCommandResult, Pause, WriteCheckpoint
from floop_robot.spec.errors import FloopError

DISK_S: Final = 20.0
"""How long a checkpoint may take to reach a slow disk."""

log = logging.getLogger(__name__)


class LearnerServices:
    """Serves pause and checkpoint; each order goes into the fleet's audit, as far as there is a fleet manager."""

    def __init__(self, node: Node, client: LearnerClient, fleet: FleetClient) -> None:
        """`client` and `fleet` are this service's alone."""
        self._client, self._fleet = client, fleet
        node.create_service(PauseLearner, topics.PAUSE_LEARNER, self._pause, qos_profile=CALLS)
        node.create_service(CheckpointLearner, topics.CHECKPOINT_LEARNER, self._checkpoint, qos_profile=CALLS)

    def _pause(self, request: PauseLearner.Request, answer: PauseLearner.Response) -> PauseLearner.Response:
        done = self._order(Pause(pause=request.pause, **_signed(request, request.why)), answer)
        if done is not None:
            answer.status = to_message(msg.LearnerStatus, done.status)
        return answer

    def _checkpoint(
        self, request: CheckpointLearner.Request, answer: CheckpointLearner.Response
    ) -> CheckpointLearner.Response:
        done = self._order(WriteCheckpoint(**_signed(request)), answer)
        if done is not None:
            answer.path, answer.gradient_steps = done.status.checkpoint_path, done.status.gradient_steps
        return answer

    def _order(self, order: Pause | WriteCheckpoint, answer: Any) -> LearnerCommandResult | None:
        try:
            self._client.status()  # a learner that is away shows sooner than an order would
            found = self._client.send_command(order, DISK_S)
        except FloopError as error:
            answer.message = str(error)
            return None
        done = found.done
        answer.success, answer.message = True, done.what
        answer.record = self._audited(order.call_id, done)
        return found

    def _audited(self, call_id: str, done: CommandResult) -> msg.AuditEntry:
        remark = AuditNote(call_id=f"learner {call_id}", who=done.who, what=done.what, why=done.why)
        try:
            return done_to_msg(self._fleet.send_command(remark))
        except FloopError as error:
            log.warning("learner: %s %s, which no audit has: %s", done.who, done.what, error)
            return audit_entry(done.who, done.what, detail=done.why)


def _signed(request: Any, why: str = "") -> dict[str, str]:
    signed = {"who": request.who, "token": request.token, "why": why}
    return signed | ({"call_id": request.call_id} if request.call_id else {})
