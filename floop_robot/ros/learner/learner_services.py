"""LearnerServices: `/learner/pause` and `/learner/checkpoint`."""

from __future__ import annotations

import logging
from typing import Any

from rclpy.node import Node

from floop_interfaces import msg
from floop_interfaces.srv import CheckpointLearner, PauseLearner
from floop_robot.deploy import FleetClient
from floop_robot.learn.status import LearnerStatus
from floop_robot.ros.node import topics
from floop_robot.ros.node.convert import to_message
from floop_robot.ros.node.service_calls import answering, create_services, signature
from floop_robot.services.learner_client import LearnerClient, Pause, WriteCheckpoint, send_audited

log = logging.getLogger(__name__)


class LearnerServices:
    """Serves pause and checkpoint; the fleet's audit gets each command, if there is a fleet manager."""

    def __init__(self, node: Node, client: LearnerClient, fleet: FleetClient) -> None:
        """`client` and `fleet` belong to these services alone."""
        self._client, self._fleet = client, fleet
        table = (
            (PauseLearner, topics.PAUSE_LEARNER, answering(self._pause)),
            (CheckpointLearner, topics.CHECKPOINT_LEARNER, answering(self._checkpoint)),
        )
        create_services(node, table)

    async def _pause(self, request: PauseLearner.Request, answer: PauseLearner.Response) -> None:
        status = self._carry_out(Pause(pause=request.pause, **signature(request)), answer)
        answer.status = to_message(msg.LearnerStatus, status)

    async def _checkpoint(self, request: CheckpointLearner.Request, answer: CheckpointLearner.Response) -> None:
        status = self._carry_out(WriteCheckpoint(**signature(request)), answer)
        answer.path, answer.gradient_steps = status.checkpoint_path, status.gradient_steps

    def _carry_out(self, command: Pause | WriteCheckpoint, answer: Any) -> LearnerStatus:
        found, record = send_audited(self._client, self._fleet, command)
        done = record or found.done
        if record is None:
            log.warning("learner: %s %s, and no fleet manager audited it", done.who, done.what)
        answer.message, answer.record = found.done.what, to_message(msg.AuditEntry, done)
        return found.status
