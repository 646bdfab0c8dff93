"""Timers of nodes on the steady clock: with `use_sim_time`, rclpy's own wait for somebody to publish the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node


def create_steady_timer(period_s: float, node: Node, callback: Callable[[], Any]) -> Any:
    """A timer of `node` that calls back in its executor every `period_s` seconds."""
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
