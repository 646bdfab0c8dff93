"""TrajectoryAction: an arm's positions as goals of FollowJointTrajectory, for a driver that has no topic.

Each goal takes the place of the one before. A topic does the same with less delay and less processor time: use it where
the driver has one.
"""

from __future__ import annotations

from typing import Any, Final

from builtin_interfaces.msg import Duration
from rclpy.action import ActionClient
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from floop_robot.robot.messages import Joints
from floop_robot.ros.node.optional_messages import require_action
from floop_robot.ros.node.timers import create_steady_timer

PACKAGE: Final = "control_msgs"
GOAL_PERIOD_S: Final = 0.1
"""How often a goal is sent, each with one point. Ten in a second keep an action server busy enough."""


class TrajectoryAction:
    """Sends goals from the node's own thread; `send` only notes where the arm shall be, and never waits."""

    def __init__(self, node: Node, action: str, names: tuple[str, ...], reach_s: float) -> None:
        """`reach_s`: when a point is to be reached. Raises `ConfigError` where `control_msgs` is not installed."""
        self._node, self._action, self._names = node, action, list(names)
        self._kind = require_action(PACKAGE, "FollowJointTrajectory", "controller follow_joint_trajectory")
        self._reach_s = max(reach_s, GOAL_PERIOD_S)
        self._client = ActionClient(node, self._kind, action)
        self._wanted: Joints = ()
        self._sent: Joints = ()
        self._said = ""
        self._timer = create_steady_timer(GOAL_PERIOD_S, node, self._work)

    def send(self, q: Joints, _: Joints = ()) -> None:
        """Where the arm shall be, rad; from any thread. Velocities are left to the driver."""
        self._wanted = q

    def _work(self) -> None:
        wanted = self._wanted
        if not wanted or wanted == self._sent:
            return
        if not self._client.server_is_ready():
            self._failed(f"no action server at {self._action}: is the arm's driver running?")
            return
        whole_s = int(self._reach_s)
        reach = Duration(sec=whole_s, nanosec=int((self._reach_s - whole_s) * 1e9))
        point = JointTrajectoryPoint(positions=wanted, time_from_start=reach)
        goal = self._kind.Goal(trajectory=JointTrajectory(joint_names=self._names, points=[point]))
        self._sent = wanted
        self._client.send_goal_async(goal).add_done_callback(self._on_answer)

    def _on_answer(self, future: Any) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self._failed(f"{self._action} did not accept a goal")
        else:
            self._said = ""

    def _failed(self, why: str) -> None:
        self._sent = ()
        if why != self._said:  # once, not at every try
            self._said = why
            self._node.get_logger().warning(f"arm: {why}")
