"""EstopMonitor: what the fleet manager hears of its robots' stop latches, so that no release undoes a stop after it."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces.msg import EstopState, StopRequest
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS, LATCHED
from floop_robot.ros.safety.safety_publisher import NONCE_LIFETIME_S

MAX_OWN_STOPS: Final = 64
"""Stops of our own that are known again: they are heard within milliseconds."""


SILENT: Final = "was not heard of when it was to be released: look, and ask again"
CHANGED_SINCE: Final = "was stopped or started again meanwhile: look, and ask again"


class _Heard(msgspec.Struct, frozen=True):
    """What a robot said of its latch last."""

    stop_id: int
    seal: int
    at_s: float


class EstopSnapshot(msgspec.Struct, frozen=True):
    """What was known of a robot's latch when its release was asked for."""

    stops: int
    """Stops of it that were heard, on whatever topic."""
    stop_id: int | None
    """Names its newest stop, by whatever way, and its process; None: the robot was silent."""


class EstopMonitor:
    """What is heard of the robots' latches: which stops there were, and what a release may name.

    A release is only sent while nobody has stopped the robot since it was asked for, on whatever way; it names the
    state that it releases, so that a robot that gets it late does nothing.
    """

    def __init__(self, node: Node, robots: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._stops: Counter[str] = Counter()
        self._own: deque[tuple[int, int]] = deque(maxlen=MAX_OWN_STOPS)
        self._heard: dict[str, _Heard] = {}
        group = ReentrantCallbackGroup()
        node.create_subscription(
            StopRequest, topics.FLEET_ESTOP, lambda m: self._hear_stop(robots, m), EVENTS, callback_group=group
        )
        for r in robots:
            node.create_subscription(
                StopRequest, f"/{r}/{topics.ESTOP}", lambda m, r=r: self._hear_stop((r,), m), EVENTS,
                callback_group=group,
            )  # fmt: skip
            node.create_subscription(
                EstopState, f"/{r}/{topics.ESTOP_STATE}", lambda m, r=r: self._hear(r, m), LATCHED, callback_group=group
            )

    def stopped(self, robots: Sequence[str], message: StopRequest) -> None:
        """These are stopped by `message`, which is not counted again when it is heard."""
        with self._lock:
            self._own.append(_stamp(message))
            self._stops.update(robots)

    def _hear_stop(self, robots: Sequence[str], message: StopRequest) -> None:
        with self._lock:
            if _stamp(message) not in self._own:
                self._stops.update(robots)

    def take_snapshot(self, robots: Sequence[str]) -> dict[str, EstopSnapshot]:
        """What is known of each robot's latch now."""
        with self._lock:
            fresh = {r: self._fresh(r) for r in robots}
            return {r: EstopSnapshot(self._stops[r], heard.stop_id if heard else None) for r, heard in fresh.items()}

    def _fresh(self, robot: str) -> _Heard | None:
        heard = self._heard.get(robot)
        return heard if heard is not None and time.monotonic() - heard.at_s < NONCE_LIFETIME_S else None

    def _hear(self, robot: str, state: EstopState) -> None:
        with self._lock:
            self._heard[robot] = _Heard(state.stop_id, state.seal, time.monotonic())

    def release(self, robot: str, snapshot: EstopSnapshot, call: Callable[[int], None]) -> str:
        """`call` with the seal that a release of what was `snapshot` at names; why not, where it is another state now.

        Nothing is called while the robot is silent. No stop is heard between the look and the call.
        """
        with self._lock:
            if snapshot.stop_id is None:
                return SILENT
            heard = self._fresh(robot)
            if self._stops[robot] != snapshot.stops or (heard is not None and heard.stop_id != snapshot.stop_id):
                return CHANGED_SINCE
            if heard is not None:
                call(heard.seal)
            return ""


def _stamp(message: StopRequest) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec
