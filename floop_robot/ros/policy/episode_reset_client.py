"""EpisodeResetClient: asks driver or cell to get ready for an episode, while the control loop goes on.

In every step the loop names the episode that it wants. The executor's thread calls the service again and again until
the driver is ready. A call that gets no answer (its server was killed) is given up and made again.
"""

from __future__ import annotations

import time
from typing import Any, Final

from rclpy.node import Node

from floop_interfaces.srv import ResetEpisode
from floop_robot.robot.messages import ResetRequest
from floop_robot.ros.node.qos import CALLS
from floop_robot.ros.node.topics import RESET_EPISODE

RETRY_PERIOD_S: Final = 0.5
"""Pause between two calls for the same episode."""


class EpisodeResetClient:
    """A `MessagePublisher` of reset requests."""

    def __init__(self, node: Node) -> None:
        self._client = node.create_client(ResetEpisode, RESET_EPISODE, qos_profile=CALLS)
        self._guard = node.create_guard_condition(self._call)
        self._wanted = self._asked = 0
        self._due_s = 0.0
        self._open: Any = None
        self.calls = self.answers = 0
        self.refusal = ""
        """Why the driver last refused; empty after a success."""

    def send(self, message: ResetRequest, /) -> None:
        """Ask for this episode; from the control thread."""
        self._wanted = message.episode
        if self._wanted != self._asked or time.monotonic() >= self._due_s:
            self._guard.trigger()

    def forget(self) -> None:
        """Ask for none until the next `send`; the answer to an open call is ignored."""
        self._wanted = self._asked = 0

    def _call(self) -> None:
        now_s = time.monotonic()
        if self._wanted == 0 or (self._wanted == self._asked and now_s < self._due_s):
            return
        if not self._client.service_is_ready():
            return  # a call would vanish; the next step asks again
        if self._open is not None:
            self._client.remove_pending_request(self._open)
        self._asked, self._due_s = self._wanted, now_s + RETRY_PERIOD_S
        self.calls += 1
        self._open = self._client.call_async(ResetEpisode.Request(episode=self._asked))
        self._open.add_done_callback(self._on_answer)

    def _on_answer(self, future: Any) -> None:
        if future is self._open:
            self._open = None
        answer = future.result()
        if answer is None:  # given up
            return
        self.answers += 1
        self.refusal = "" if answer.success else (answer.message or "the driver refused without a reason")
