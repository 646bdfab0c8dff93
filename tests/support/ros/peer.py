"""Nodes of the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import rclpy
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from floop_robot.ros.node.qos import CALLS
from tests.support.waiting import wait_for

DISCOVERY_S = 20.0

N = TypeVar("N", bound=Node)


class Spun(Generic[N]):
    """A node of this process, spun by a thread of its own."""

    def __init__(self, context: Context, make: Callable[[Context], N]) -> None:
        self.node = make(context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, name=f"spins {self.node.get_name()}")
        self._thread.start()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()


class Peer(Spun[Node]):
    """A node that calls, listens and speaks.

    Other nodes of this process share its context: of 120 services called right after both sides had come up in one
    process, 12 never answered where each side had a context (a DDS participant) of its own, and 0 where they shared it.
    """

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        super().__init__(self.context, lambda context: Node("peer", context=context))
        self._clients: dict[tuple[Any, str], Any] = {}

    def close(self) -> None:
        super().close()
        rclpy.shutdown(context=self.context)

    def result(self, future: Any, timeout_s: float = 10.0) -> Any:
        wait_for(future.done, timeout_s)
        return future.result()

    def send(self, kind: Any, name: str, request: Any) -> Any:
        """The future answer of a service that is there."""
        if (kind, name) not in self._clients:
            self._clients[kind, name] = self.node.create_client(kind, name, qos_profile=CALLS)
        client = self._clients[kind, name]
        assert client.wait_for_service(timeout_sec=DISCOVERY_S), f"{name} is not served"
        return client.call_async(request)

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        """The answer of a service."""
        return self.result(self.send(kind, name, request), timeout_s)

    def spun(self, do: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """What `do` returns in the thread that spins.

        For an action's goals, cancellations and results: an answer that is faster than the thread which asked is one
        that nobody waits for (`Ignoring unexpected goal response`).
        """
        return self.result(self._executor.create_task(do, *given, **named))

    def action_client(self, kind: Any, name: str) -> ActionClient:
        """A client of an action that is there.

        Made by the thread that spins: Kilted's client tells the node of itself before it is complete, and an executor
        that comes upon it then raises (`'ActionClient' object has no attribute '_lock'`).
        """
        client = self.spun(ActionClient, self.node, kind, name)
        assert client.wait_for_server(timeout_sec=DISCOVERY_S), f"{name} is not served"
        return client

    def listen(self, kind: Any, topic: str, qos: QoSProfile | int) -> list[Any]:
        """A list that grows with every message."""
        heard: list[Any] = []
        self.node.create_subscription(kind, topic, heard.append, qos)
        return heard
