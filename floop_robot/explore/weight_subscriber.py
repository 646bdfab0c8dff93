"""WeightSubscriber: the live weights that an explorer acts on."""

from __future__ import annotations

import logging

import zmq

from floop_robot.bundle import Actor, Bundle, verify
from floop_robot.spec.calibration import Calibration
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import FloopError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.transport.zmq_sockets import Context, connect_socket, receive

log = logging.getLogger(__name__)


class WeightSubscriber:
    """Receives the newest live weights of the learner; skips older ones."""

    def __init__(self, config: FloopConfig) -> None:
        rules = get_task(config.task)
        self._spec, self._ids = rules.spec, ids_of(rules, load_robot(config.robot.model))
        self._context: Context = zmq.Context()
        self._socket = connect_socket(self._context, zmq.SUB, config.endpoints.weights, newest_only=True)
        self.actor: Actor | None = None
        self.calibration: Calibration = {}
        """The corrections that belong to it."""
        self.version = 0
        self._latest = b""
        """The message that came last, also if it was refused."""
        self.refused = 0
        """Messages without a usable policy."""

    def poll(self, wait_ms: int) -> bool:
        """Wait for new weights; returns whether some came. The learner repeats those that stay the same."""
        if not self._socket.poll(wait_ms) or not (frames := receive(self._socket)):
            return False
        if frames[0] == self._latest:
            return False
        self._latest = frames[0]
        try:
            bundle = Bundle.from_bytes(frames[0], "the live weights")
            self.actor = verify(bundle, self._spec, self._ids, where="the explorer").actor
        except FloopError as error:
            self.refused += 1
            log.warning("explorer: %s", error)
            return False
        self.version, self.calibration = bundle.manifest.version, bundle.manifest.calibration
        return True

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(0)
