"""SafetyPublisher: the safety process's status, its e-stop state, and the nonces by which a reset names that state."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import structs
from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.messages import SafetyState
from floop_robot.ros.arm.convert import safety_to_cdr
from floop_robot.ros.node import topics
from floop_robot.ros.node.io import CdrPublisher
from floop_robot.ros.node.qos import LATCHED, SENSOR
from floop_robot.ros.node.stamps import header, to_time

CONFIRM_S: Final = 1.0
"""How often the state of the latch is published without a change."""
NONCE_LIFETIME_S: Final = 2.0
"""How long a reset may name a published state of the latch: until the next but one is published."""

log = logging.getLogger(__name__)


class Nonce(msgspec.Struct, frozen=True):
    """Names a published state of the latch: how many stops there had been, and when it was published."""

    value: int
    stops: int
    issued_s: float
    """Steady clock."""


class SafetyPublisher:
    """Publishes `safety_status` in every tick, and `estop_state` when the latch changes and once a second."""

    def __init__(self, node: Node, robot: str, latch: EstopLatch, missed: Callable[[], int]) -> None:
        """`missed` counts the servo ticks that were missed."""
        self._robot, self.latch, self._missed = robot, latch, missed
        self._status = CdrPublisher(node, msg.SafetyStatus, topics.SAFETY_STATUS, SENSOR)
        self._state = node.create_publisher(msg.EstopState, topics.ESTOP_STATE, LATCHED)
        self._is_set, self._stops, self._due_s = latch.is_set, latch.stops, 0.0
        self._by = latch.last_command
        self._since_ns, self._who, self._why = 0, "", latch.reason
        self.listener: Callable[[], None] = lambda: None
        """Called after every tick, in the servo loop's thread; must not wait."""
        self._first_id = secrets.randbits(62)
        self._nonce = self._older_nonce = Nonce(0, 0, 0.0)

    def send(self, state: SafetyState, /) -> None:
        """Publish."""
        state = structs.replace(state, missed_ticks=self._missed())
        self._status.send(safety_to_cdr(self._status.writer, state, self._robot))
        command = self.latch.last_command
        # Reset and stopped again between two ticks, it is stopped by another command.
        changed = state.estop != self._is_set or command is not self._by
        if changed:
            self._is_set, self._since_ns, self._by = state.estop, time.time_ns(), command
            self._who, self._why = (command.who, command.why) if command else ("", self.latch.reason)
            log.warning("%s: %s by %s %s", self._robot, "stopped" if state.estop else "reset", self._who, self._why)
        if changed or self.latch.stops != self._stops or state.mono_s >= self._due_s:
            self._due_s, self._stops = state.mono_s + CONFIRM_S, self.latch.stops
            self._older_nonce = self._nonce
            self._nonce = Nonce(secrets.randbits(63) | 1, self._stops, state.mono_s)
            self._state.publish(self.message())
        self.listener()

    def find_nonce(self, value: int) -> Nonce | None:
        """The state that `value` names; None when it was not published, or too long ago. 0 names the present state.

        From any thread.
        """
        now_s = time.monotonic()
        if value == 0:
            return Nonce(0, self.latch.stops, now_s)
        for known in (self._nonce, self._older_nonce):
            if known.value == value and now_s - known.issued_s <= NONCE_LIFETIME_S:
                return known
        return None

    def message(self) -> msg.EstopState:
        """The latch as last published."""
        return msg.EstopState(
            header=header(),
            robot=self._robot,
            latched=self._is_set,
            since=to_time(self._since_ns),
            who=self._who,
            why=self._why,
            stop_id=self._first_id + self._stops,
            seal=self._nonce.value,
        )
