"""RobotModelPublisher: a simulated arm's `robot_description` and TF, as robot_state_publisher publishes a real arm's.

TF needs `tf2_msgs`; without it there is the description alone.
"""

from __future__ import annotations

from typing import Final

from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from geometry_msgs.msg import Transform as TransformMessage
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from floop_robot.robot.link_frames import LinkFrame, LinkFrames
from floop_robot.robot.messages import RobotState
from floop_robot.robot.transform import Transform
from floop_robot.ros.node import topics
from floop_robot.ros.node.optional_messages import find_message
from floop_robot.ros.node.qos import LATCHED
from floop_robot.ros.node.stamps import header
from floop_robot.spec.driver_config import DriverConfig
from floop_robot.spec.robot_model import RobotModel

TF_PERIOD_NS: Final = 50_000_000
"""20 Hz: enough to look at, and a twentieth of a millisecond each."""
_TF_QOS: Final = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
_STATIC_QOS: Final = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


class RobotModelPublisher:
    """For one robot. `send` is for the loop that has its states."""

    def __init__(self, node: Node, model: RobotModel, driver: DriverConfig, robot: str) -> None:
        """Raises `ConfigError` for a URDF that can't be read."""
        self._links, self._prefix = LinkFrames(model.urdf_path), driver.link_prefix(robot)
        self._joint_names, self._finger_names = model.joint_names, model.gripper.joint_names
        self._next_ns = 0
        self._description = node.create_publisher(String, topics.ROBOT_DESCRIPTION, LATCHED)
        self._description.publish(String(data=model.urdf_path.read_text(encoding="utf-8")))
        kind = find_message("tf2_msgs", "TFMessage")
        self._kind = kind
        self._moving = node.create_publisher(kind, topics.TF, _TF_QOS) if kind else None
        self._static = node.create_publisher(kind, topics.TF_STATIC, _STATIC_QOS) if kind else None
        if self._static is not None and self._kind is not None:
            fixed = list(self._links.fixed)
            if driver.base_link not in ("", model.base_link):  # the driver's own name of the same link
                fixed.append(LinkFrame(driver.base_link, model.base_link, Transform()))
            self._static.publish(self._kind(transforms=[self._message(each, None) for each in fixed]))

    def send(self, state: RobotState) -> None:
        """Publish TF, while somebody listens and at most at 20 Hz."""
        if self._moving is None or self._kind is None or state.stamp_ns < self._next_ns:
            return
        self._next_ns = state.stamp_ns + TF_PERIOD_NS
        if not self._moving.get_subscription_count():
            return
        positions = dict(zip(self._joint_names, state.q_rad, strict=True))
        half_m = state.gripper_width_m / max(1, len(self._finger_names))
        positions |= dict.fromkeys(self._finger_names, half_m)
        moving = [self._message(each, state.stamp_ns) for each in self._links.moving(positions)]
        self._moving.publish(self._kind(transforms=moving))

    def _message(self, frame: LinkFrame, stamp_ns: int | None) -> TransformStamped:
        (x, y, z), (a, b, c, d) = frame.transform.position_m, frame.transform.rotation
        return TransformStamped(
            header=header(self._prefix + frame.parent, stamp_ns),
            child_frame_id=self._prefix + frame.link,
            transform=TransformMessage(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=a, y=b, z=c, w=d)),
        )
