"""Timers of nodes go on where nobody tells the simulated time."""

from __future__ import annotations

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

rclpy = pytest.importorskip("rclpy", reason=NO_ROS)

from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from floop_robot.ros.node.timers import create_steady_timer  # noqa: E402


def test_a_timer_needs_no_clock_topic(domain: int) -> None:
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = Node("sleeper", context=context, parameter_overrides=[Parameter("use_sim_time", value=True)])
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    rung: list[str] = []
    timers = (
        node.create_timer(0.01, lambda: rung.append("ROS")),
        create_steady_timer(0.02, node, lambda: rung.append("steady")),
    )
    try:
        wait_for(lambda: executor.spin_once(0.05) or rung.count("steady") >= 5, what="five rings")
        assert "ROS" not in rung  # which is why
    finally:
        del timers
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
