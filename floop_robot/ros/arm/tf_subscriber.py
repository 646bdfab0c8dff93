"""TfSubscriber: brings a frame tree up to date from `/tf` and `/tf_static`, when somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from floop_robot.robot.frame_tree import FrameTree
from floop_robot.robot.transform import checked_transform
from floop_robot.ros.node import topics
from floop_robot.ros.node.io import PolledSubscription
from floop_robot.ros.node.optional_messages import find_message
from floop_robot.ros.node.stamps import from_time

DEPTH: Final = 100
"""As tf2's own listeners. Between two looks, at the policy's rate, fewer messages come."""
_MOVING: Final = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
_STATIC: Final = QoSProfile(
    depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


def tf_reader(node: Node, tree: FrameTree) -> Callable[[], None] | None:
    """A function that reads what TF said since the last call into `tree`; None where `tf2_msgs` is not installed.

    It subscribes when it is first called: most robots' poses are in frames that need no TF.
    """
    kind = find_message("tf2_msgs", "TFMessage")
    return TfSubscriber(node, tree, kind).read if kind is not None else None


class TfSubscriber:
    """For one thread."""

    def __init__(self, node: Node, tree: FrameTree, kind: Any) -> None:
        """`kind`: tf2_msgs/TFMessage."""
        self._node, self._tree, self._kind = node, tree, kind
        self._topics: list[tuple[PolledSubscription, bool]] = []

    def read(self) -> None:
        """Read all that came since the last call."""
        if not self._topics:
            static = PolledSubscription(self._node, self._kind, topics.TF_STATIC, _STATIC)
            self._topics = [(static, True), (PolledSubscription(self._node, self._kind, topics.TF, _MOVING), False)]
        for topic, is_static in self._topics:
            for data, _ in topic.take():
                try:
                    message = deserialize_message(data, self._kind)
                except RuntimeError:  # of the middleware
                    self._tree.left_out += 1
                    continue
                for each in message.transforms:
                    self._add(each, is_static)

    def _add(self, each: Any, is_static: bool) -> None:
        position, rotation = each.transform.translation, each.transform.rotation
        try:
            transform = checked_transform(
                (position.x, position.y, position.z), (rotation.x, rotation.y, rotation.z, rotation.w)
            )
        except ValueError:
            self._tree.left_out += 1
            return
        stamp_ns = None if is_static else from_time(each.header.stamp)
        self._tree.add(each.header.frame_id, each.child_frame_id, transform, stamp_ns)
