"""WeightSubscriber and ExplorationRateLimiter: what an explorer acts on, and how many rows it may make of it."""

from __future__ import annotations

import logging

import zmq

from floop_robot.bundle import Actor, Bundle, verify
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import FloopError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.transport.zmq_sockets import Context, connect_socket, receive

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""Without new weights for so long the same ones are explored again: the rows may have been lost with a learner."""


class ExplorationRateLimiter:
    """How many rows may still be made before the learner shows that it keeps up."""

    def __init__(self, rows: int, clock_s: float) -> None:
        self._rows, self._left, self._since_s = rows, 0, clock_s

    def new_weights(self, now_s: float) -> None:
        """The learner published: another grant, on top of at most one that is unused."""
        self._left = min(self._left, self._rows) + self._rows
        self._since_s = now_s

    def spend(self, rows: int) -> None:
        """Note the rows of an episode."""
        self._left -= rows

    def may_explore(self, now_s: float) -> bool:
        """Whether another episode may begin."""
        if self._left <= 0 and now_s - self._since_s > PATIENCE_S:
            self._left, self._since_s = self._rows, now_s
        return self._left > 0


class WeightSubscriber:
    """The newest live weights of the learner; older ones are skipped."""

    def __init__(self, config: FloopConfig) -> None:
        rules = get_task(config.task)
        self._spec, self._ids = rules.spec, ids_of(rules, load_robot(config.robot.model))
        self._context: Context = zmq.Context()
        self._socket = connect_socket(self._context, zmq.SUB, config.endpoints.weights, newest_only=True)
        self.actor: Actor | None = None
        self.version = 0
        self.refused = 0
        """Messages that held no usable policy."""

    def poll(self, wait_ms: int) -> bool:
        """Wait for new weights; whether there are some."""
        if not self._socket.poll(wait_ms) or not (frames := receive(self._socket)):
            return False
        try:
            bundle = Bundle.from_bytes(frames[0], "the live weights")
            self.actor = verify(bundle, self._spec, self._ids, where="the explorer").actor
        except FloopError as error:
            self.refused += 1
            log.warning("explorer: %s", error)
            return False
        self.version = bundle.manifest.version
        return True

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(0)
