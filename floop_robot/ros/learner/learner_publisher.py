"""What the learner is doing, on `/learner/status`."""

from __future__ import annotations

import threading
import time
from typing import Final

from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.learn.status import LearnerState, LearnerStatus
from floop_robot.ros.node import topics
from floop_robot.ros.node.convert import to_message
from floop_robot.ros.node.qos import LATCHED
from floop_robot.services.learner_client import LearnerClient
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import FloopError

POLL_PERIOD_S: Final = 1.0
ANSWER_S: Final = 2.0
"""A learner that says nothing for so long is down: it looks at its port between two steps, which take 50 ms at most."""


class LearnerPublisher:
    """Asks the learner once a second and says what it answers, in a thread of its own; a context manager."""

    def __init__(self, node: Node, config: FloopConfig, grace_s: float) -> None:
        """For `grace_s` from now on, a learner that does not answer yet is starting, not down."""
        self._config, self._grace_s = config, grace_s
        self._publisher = node.create_publisher(msg.LearnerStatus, topics.LEARNER_STATUS, LATCHED)
        self._born_s = self._heard_s = time.monotonic()
        self._answered = False
        self.status = self._silent()
        """The last that was said."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="learner-publisher")

    def __enter__(self) -> LearnerPublisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """Say nothing more; returns at once."""
        self._stop.set()

    def _run(self) -> None:
        with LearnerClient(self._config.endpoints.learner, ANSWER_S) as client:
            while not self._stop.wait(POLL_PERIOD_S):
                try:
                    status = client.status()
                    self._heard_s, self._answered = time.monotonic(), True
                except FloopError:
                    status = self._silent()
                if self._stop.is_set():
                    return
                self.status = status
                self._publisher.publish(to_message(msg.LearnerStatus, status))

    def _silent(self) -> LearnerStatus:
        now = time.monotonic()
        starting = not self._answered and now - self._born_s < self._grace_s
        return LearnerStatus(
            state=LearnerState.STARTING if starting else LearnerState.DOWN,
            algo=self._config.learner.algo,
            task=self._config.task,
            detail="" if starting else f"has not answered for {now - self._heard_s:.0f} s",
        )
