"""EstopCommands: stops and releases from every way they come, as the servo loop takes them. No stop is ever lost."""

from __future__ import annotations

from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.robot.messages import EstopCommand
from floop_robot.ros.arm.convert import stop_from_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.io import Mailbox, RosSubscriber
from floop_robot.ros.node.qos import EVENTS


class EstopCommands:
    """Stops from both topics, and stops and releases from the service, as the servo loop asks for them."""

    def __init__(self, node: Node) -> None:
        # Two boxes, each of which drops its oldest when it is full: no number of releases pushes a stop out, and of
        # many stops one is enough.
        self._releases, self._stops = Mailbox[EstopCommand](), Mailbox[EstopCommand]()
        self._topics = [
            RosSubscriber(node, msg.StopRequest, topic, EVENTS, stop_from_msg)
            for topic in (topics.ESTOP, topics.FLEET_ESTOP)
        ]

    def send(self, order: EstopCommand, /) -> None:
        """Leave the order of a call; from the executor's thread."""
        (self._stops if order.stop else self._releases).send(order)

    def receive(self) -> EstopCommand | None:
        """The next order, or None. Releases come first: a stop that arrives together with one wins."""
        order = self._releases.receive() or self._stops.receive()
        for topic in self._topics:
            order = order or topic.receive()
        return order
