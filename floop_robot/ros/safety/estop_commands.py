"""EstopCommands: stops and resets from every source, as the servo loop takes them. No stop is ever lost."""

from __future__ import annotations

from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.robot.messages import EstopCommand
from floop_robot.ros.arm.convert import stop_from_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.io import Mailbox, RosSubscriber
from floop_robot.ros.node.qos import EVENTS


class EstopCommands:
    """Stops from both topics, and stops and resets from the service."""

    def __init__(self, node: Node) -> None:
        # Two boxes, each of which drops its oldest when it is full: no number of resets pushes a stop out, and of
        # many stops one is enough.
        self._resets, self._stops = Mailbox[EstopCommand](), Mailbox[EstopCommand]()
        self._topics = [
            RosSubscriber(node, msg.StopRequest, topic, EVENTS, stop_from_msg)
            for topic in (topics.ESTOP, topics.FLEET_ESTOP)
        ]

    def send(self, command: EstopCommand, /) -> None:
        """Leave the command of a call; from the executor's thread."""
        (self._stops if command.stop else self._resets).send(command)

    def receive(self) -> EstopCommand | None:
        """The next command, or None. Resets come first: a stop that arrives together with one wins."""
        command = self._resets.receive() or self._stops.receive()
        for topic in self._topics:
            command = command or topic.receive()
        return command
