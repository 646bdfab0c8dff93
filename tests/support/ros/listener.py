"""Somebody who listens to a robot, as `ros2 bag record` and `ros2 topic echo` do: `python -m … recorder|echo`."""

from __future__ import annotations

import sys

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from floop_interfaces import msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS, LATCHED, SENSOR
from tests.support.ros.robot_rig import ROBOT


def main() -> None:
    rclpy.init()
    node = Node(sys.argv[1])
    wanted = [(Bool, f"/{ROBOT}/{topics.ESTOP}", EVENTS), (Bool, topics.FLEET_ESTOP, EVENTS)]
    if sys.argv[1] == "recorder":
        wanted += [
            (msg.EstopState, f"/{ROBOT}/{topics.ESTOP_STATE}", LATCHED),
            (msg.SafetyStatus, f"/{ROBOT}/{topics.SAFETY_STATUS}", SENSOR),
            (JointState, f"/{ROBOT}/{topics.JOINT_STATES}", SENSOR),
        ]
    for kind, topic, qos in wanted:
        node.create_subscription(kind, topic, lambda _: None, qos, raw=True)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
