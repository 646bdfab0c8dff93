"""EstopMonitor: the robots' e-stops as the fleet manager hears them, so that no reset undoes a later stop."""

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
"""Own stops that are recognized when they arrive back, within milliseconds."""
SILENT: Final = "was not heard when its reset was requested: look at it, and ask again"
CHANGED_SINCE: Final = "was stopped or started again meanwhile: look at it, and ask again"


class _HeardState(msgspec.Struct, frozen=True):
    """The e-stop state that a robot published last."""

    stop_id: int
    nonce: int
    """Names this state in a reset."""
    at_s: float
    """Steady clock."""


class EstopSnapshot(msgspec.Struct, frozen=True):
    """What was known of a robot's e-stop when its reset was requested."""

    stops: int
    """How many stops of it were heard, on all topics."""
    stop_id: int | None
    """Names its newest stop and its process; None: the robot was silent."""


class EstopMonitor:
    """Counts the stops of each robot, and knows the state that a reset may name.

    A reset is sent only if nobody stopped the robot since it was requested. It names the state that it resets, so a
    robot that gets it late does nothing.
    """

    def __init__(self, node: Node, robots: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._stops: Counter[str] = Counter()
        self._own: deque[tuple[int, int]] = deque(maxlen=MAX_OWN_STOPS)
        self._heard: dict[str, _HeardState] = {}
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

    def count_stop(self, robots: Sequence[str], message: StopRequest) -> None:
        """Count an own stop of `robots`; `message` is not counted again when it arrives back."""
        with self._lock:
            self._own.append(_stamp(message))
            self._stops.update(robots)

    def _hear_stop(self, robots: Sequence[str], message: StopRequest) -> None:
        with self._lock:
            if _stamp(message) not in self._own:
                self._stops.update(robots)

    def take_snapshot(self, robots: Sequence[str]) -> dict[str, EstopSnapshot]:
        """What is known of each robot's e-stop now."""
        with self._lock:
            latest = {r: self._latest(r) for r in robots}
            return {r: EstopSnapshot(self._stops[r], heard.stop_id if heard else None) for r, heard in latest.items()}

    def _latest(self, robot: str) -> _HeardState | None:
        heard = self._heard.get(robot)
        return heard if heard is not None and time.monotonic() - heard.at_s < NONCE_LIFETIME_S else None

    def _hear(self, robot: str, state: EstopState) -> None:
        with self._lock:
            self._heard[robot] = _HeardState(state.stop_id, state.seal, time.monotonic())

    def reset(self, robot: str, snapshot: EstopSnapshot, call: Callable[[int], None]) -> str:
        """Call `call` with the nonce of the state in `snapshot`; returns why not, if the state changed since.

        Nothing is called while the robot is silent. No stop is heard between comparison and call.
        """
        with self._lock:
            if snapshot.stop_id is None:
                return SILENT
            heard = self._latest(robot)
            if self._stops[robot] != snapshot.stops or (heard is not None and heard.stop_id != snapshot.stop_id):
                return CHANGED_SINCE
            if heard is not None:
                call(heard.nonce)
            return ""


def _stamp(message: StopRequest) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec
