"""Subscribers and publishers of ROS topics: polled by the loop that needs them, never dispatched by an executor.

An executor costs 0.2 to 0.5 ms of Python per message. A poll at the loop's own rate costs a few microseconds when
nothing came. `PolledCallbackGroup` keeps the executor from waking for such topics. Messages are taken as bytes, and
only those that are needed are converted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message

from floop_robot.ros.node.cdr import CdrMessage, CdrReader, CdrWriter
from floop_robot.ros.node.qos import LATCHED

MAX_QUEUED_MESSAGES: Final = 64
"""Messages that a mailbox holds: newer ones have replaced what older ones asked for."""

M = TypeVar("M")
T = TypeVar("T")

_REFUSALS: Final = (ValueError, TypeError, LookupError, ArithmeticError, msgspec.MsgspecError, RuntimeError)
"""What a conversion raises for a message that does not fit; RuntimeError comes from the middleware."""


class PolledCallbackGroup(CallbackGroup):
    """Holds subscriptions that no executor shall take from."""

    def can_execute(self, entity: object) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: object) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: object) -> None:
        """Nothing began."""


class PolledSubscription:
    """A subscription without callback; its owner takes the messages."""

    def __init__(self, node: Node, kind: type, topic: str, qos: QoSProfile) -> None:
        self._kind, self._depth = kind, qos.depth
        self._subscription = node.create_subscription(kind, topic, _unused, qos, callback_group=PolledCallbackGroup())

    def take(self) -> Sequence[tuple[bytes, float]]:
        """What arrived since the last call, oldest first, serialised, with the steady-clock times (s) of arrival."""
        handle = self._subscription.handle
        with handle:
            if (taken := handle.take_message(self._kind, True)) is None:
                return ()
            found = [taken]
            while len(found) < self._depth and (taken := handle.take_message(self._kind, True)) is not None:
                found.append(taken)
        wall_ns, mono_s = time.time_ns(), time.monotonic()
        # DDS stamps arrivals with the wall clock: only the age is taken from it.
        return [
            (data, mono_s - max(0, wall_ns - (info.get("received_timestamp") or wall_ns)) * 1e-9)
            for data, info in found
        ]


def _newest(topic: PolledSubscription, read: Callable[[bytes, float], T | None]) -> T | None:
    """The newest message that can be read: one that can't hides none before it, such as a stop."""
    for data, mono_s in reversed(topic.take()):
        if (found := read(data, mono_s)) is not None:
            return found
    return None


class RosSubscriber(Generic[M, T]):
    """The newest message of a topic as a struct; what does not convert is counted and dropped.

    `convert` gets the message and the steady-clock time (s) at which it reached this process. One thread may poll.
    """

    def __init__(
        self, node: Node, kind: type[M], topic: str, qos: QoSProfile, convert: Callable[[M, float], T]
    ) -> None:
        self._kind, self._convert = kind, convert
        self._topic = PolledSubscription(node, kind, topic, qos)
        self.refused = 0

    def receive(self) -> T | None:
        """The newest message since the last call that can be read, or None."""
        return _newest(self._topic, self._read)

    def _read(self, data: bytes, mono_s: float) -> T | None:
        try:
            return self._convert(deserialize_message(data, self._kind), mono_s)
        except _REFUSALS:
            self.refused += 1
            return None


class CdrSubscriber(Generic[T]):
    """As `RosSubscriber`, for topics at servo rate: `convert` gets the numbers of the message."""

    def __init__(
        self, node: Node, kind: type, topic: str, qos: QoSProfile, convert: Callable[[CdrMessage, float], T]
    ) -> None:
        self._convert, self._reader = convert, CdrReader(kind)
        self._topic = PolledSubscription(node, kind, topic, qos)
        self.refused = 0

    def receive(self) -> T | None:
        """The newest message since the last call that can be read, or None."""
        return _newest(self._topic, self._read)

    def receive_all(self) -> list[T]:
        """All messages since the last call, oldest first."""
        read = [self._read(data, mono_s) for data, mono_s in self._topic.take()]
        return [each for each in read if each is not None]

    def _read(self, data: bytes, mono_s: float) -> T | None:
        try:
            return self._convert(self._reader.read(data), mono_s)
        except _REFUSALS:
            self.refused += 1
            return None


class RosPublisher(Generic[T, M]):
    """Publishes structs as messages; never waits."""

    def __init__(self, node: Node, kind: type[M], topic: str, qos: QoSProfile, convert: Callable[[T], M]) -> None:
        self._convert = convert
        self._publisher = node.create_publisher(kind, topic, qos)

    def send(self, message: T, /) -> None:
        """Publish."""
        self._publisher.publish(self._convert(message))


class CdrPublisher:
    """Publishes what its `writer` packed, for topics at servo or policy rate; never waits."""

    def __init__(self, node: Node, kind: type, topic: str, qos: QoSProfile) -> None:
        self._publisher = node.create_publisher(kind, topic, qos)
        self.writer = CdrWriter()

    def send(self, data: bytes) -> None:
        """Publish; past `Publisher.publish`, which first compares types."""
        handle = self._publisher.handle
        with handle:
            handle.publish_raw(data)


class ChangePublisher:
    """Publishes a message when anything but its times differs from the last one."""

    def __init__(self, node: Node, kind: Any, topic: str, qos: QoSProfile = LATCHED) -> None:
        types = kind.get_fields_and_field_types()
        self._compared = [
            name for name, of in types.items() if of not in ("std_msgs/Header", "builtin_interfaces/Time")
        ]
        self._publisher = node.create_publisher(kind, topic, qos)
        self._last: list[object] = []

    def publish(self, message: Any, *, again: bool = False) -> None:
        """Publish what is new; with `again` also what was published before."""
        found = [getattr(message, name) for name in self._compared]
        if again or found != self._last:
            self._last = found
            self._publisher.publish(message)


class Mailbox(Generic[T]):
    """From the executor's thread to the loop's: callbacks `send`, the loop `receive`s each message once, in order."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque(maxlen=MAX_QUEUED_MESSAGES)

    def send(self, message: T, /) -> None:
        """Leave a message."""
        self._waiting.append(message)

    def receive(self) -> T | None:
        """The oldest one waiting, or None."""
        return self._waiting.popleft() if self._waiting else None  # nobody else takes from it


def _unused(_: object) -> None:
    """A subscription must name a callback; this one is never called."""
