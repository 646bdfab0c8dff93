"""GripperAction: a gripper's positions as goals of its vendor's action, `control_msgs` GripperCommand or its successor.

`control_msgs` is optional: it is not among ROS's Python wheels, and only such grippers need it.
"""

from __future__ import annotations

import time
from typing import Any, Final

from rclpy.action import ActionClient
from rclpy.node import Node
from sensor_msgs.msg import JointState

from floop_robot.robot.gripper_goals import GoalStep, GripperGoals
from floop_robot.ros.node.optional_messages import require_action
from floop_robot.ros.node.timers import create_steady_timer
from floop_robot.spec.driver_config import GRIPPER_ACTIONS, GripperJoint

PACKAGE: Final = "control_msgs"
PERIOD_S: Final = 0.05
"""How soon a new width becomes a goal; grippers are slower."""


class GripperAction:
    """Sends goals from the node's own thread; `send` only notes what is wanted, and never waits."""

    def __init__(self, node: Node, gripper: GripperJoint) -> None:
        """Raises `ConfigError` where `control_msgs` is not installed."""
        who = f"gripper.controller {gripper.controller}"
        self._node, self._gripper = node, gripper
        self._kind = require_action(PACKAGE, GRIPPER_ACTIONS[gripper.controller], who)
        self._client = ActionClient(node, self._kind, gripper.action)
        self._goals = GripperGoals(gripper.open - gripper.closed)
        self._wanted: tuple[float, float] | None = None
        self._handle: Any = None
        self._said = ""
        self._timer = create_steady_timer(PERIOD_S, node, self._work)

    def send(self, position: float, force_n: float) -> None:
        """Where each joint shall be (rad or m), and the largest force; from any thread."""
        self._wanted = position, force_n

    def _work(self) -> None:
        if self._wanted is None:
            return
        position, force_n = self._wanted
        step = self._goals.step(position, time.monotonic(), can_cancel=self._handle is not None)
        if step is GoalStep.CANCEL:
            self._handle.cancel_goal_async()
        elif step is GoalStep.SEND:
            self._send(position, force_n)

    def _send(self, position: float, force_n: float) -> None:
        self._handle = None
        if not self._client.server_is_ready():
            self._failed(f"no action server at {self._gripper.action}: is the gripper's driver running?")
            return
        goal = self._goal(position, force_n / self._gripper.force_n_per_effort)
        self._client.send_goal_async(goal).add_done_callback(self._on_answer)

    def _goal(self, position: float, effort: float) -> Any:
        goal = self._kind.Goal()
        if isinstance(goal.command, JointState):
            names = list(self._gripper.joint_names)
            goal.command = JointState(name=names, position=[position] * len(names), effort=[effort] * len(names))
        else:
            goal.command.position, goal.command.max_effort = position, effort
        return goal

    def _on_answer(self, future: Any) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self._failed(f"{self._gripper.action} did not accept a goal")
            return
        self._handle, self._said = handle, ""
        handle.get_result_async().add_done_callback(lambda _: self._on_end(handle))

    def _on_end(self, handle: Any) -> None:
        if handle is self._handle:
            self._goals.ended()

    def _failed(self, why: str) -> None:
        self._goals.failed(time.monotonic())
        if why != self._said:  # once, not at every try
            self._said = why
            self._node.get_logger().warning(f"gripper: {why}")
