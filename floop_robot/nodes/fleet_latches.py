"""Latches: what the fleet manager hears of its robots' stop latches, so that no release undoes a stop after it."""

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
from floop_robot.nodes import topics
from floop_robot.nodes.estop import SEAL_S
from floop_robot.nodes.qos import EVENTS, LATCHED

MOST_OWN: Final = 64
"""Stops of our own that are known again: they are heard within milliseconds."""


class _Heard(msgspec.Struct, frozen=True):
    """The newest seal of a robot's latch."""

    seal: int
    at_s: float


class Latches:
    """What is heard of the robots' latches: which stops there were, and what a release may name.

    A release is only sent while nobody has stopped the robot since it was asked for, on whatever way; it names the
    state that it releases, so that a robot that gets it late does nothing.
    """

    def __init__(self, node: Node, robots: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._stops: Counter[str] = Counter()
        self._own: deque[tuple[int, int]] = deque(maxlen=MOST_OWN)
        self._seals: dict[str, _Heard] = {}
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

    def stops(self) -> Counter[str]:
        """How often each robot was stopped so far."""
        with self._lock:
            return self._stops.copy()

    def _hear(self, robot: str, state: EstopState) -> None:
        with self._lock:
            self._seals[robot] = _Heard(state.seal, time.monotonic())

    def release(self, robot: str, stops: int, call: Callable[[int], None]) -> bool:
        """`call` with what a release has to name; False where there were more than `stops` stops.

        Nothing is called while the robot is silent. No stop is heard between the look and the call.
        """
        with self._lock:
            if self._stops[robot] != stops:
                return False
            heard = self._seals.get(robot)
            if heard is not None and time.monotonic() - heard.at_s < SEAL_S:
                call(heard.seal)
            return True


def _stamp(message: StopRequest) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec
