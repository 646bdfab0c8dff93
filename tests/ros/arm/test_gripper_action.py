"""What floop sends closes a gripper through its vendor's action: goals, cancels and forces at a real action server."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

from floop_robot.robot.messages import JointCommand
from floop_robot.ros.arm.gripper_action import PACKAGE
from floop_robot.ros.arm.joint_commands import JointCommandPublisher
from floop_robot.ros.node.optional_messages import require_action
from floop_robot.spec.driver_config import GRIPPER_ACTIONS, DriverConfig, GripperController, GripperJoint, load_driver
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.robot_model import load_robot
from tests.support.ros.peer import Peer

MODEL = load_robot("panda")
MAX_M = MODEL.gripper.max_width_m


class VendorGripper:
    """An action server that takes its time, as a gripper does, until `finish` or a cancel."""

    def __init__(self, context: Context, kind: Any, name: str) -> None:
        self.goals: list[tuple[float, float]] = []
        """Position and effort of each goal, in order."""
        self.cancelled = self.under_way = self.most_under_way = 0
        self.finish = threading.Event()
        self._kind = kind
        self._node = Node("vendor_gripper", context=context)
        self._server = ActionServer(
            self._node, kind, name, self._execute, callback_group=ReentrantCallbackGroup(),
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )  # fmt: skip
        self._executor = MultiThreadedExecutor(3, context=context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def _execute(self, handle: Any) -> Any:
        command = handle.request.command
        is_parallel = hasattr(command, "name")
        self.goals.append(
            (command.position[0], command.effort[0]) if is_parallel else (command.position, command.max_effort)
        )
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        wait_for(lambda: self.finish.is_set() or handle.is_cancel_requested, 20.0)
        self.under_way -= 1
        if handle.is_cancel_requested:
            self.cancelled += 1
            handle.canceled()
        else:
            handle.succeed()
        return self._kind.Result()

    def close(self) -> None:
        self.finish.set()
        self._executor.shutdown()
        self._thread.join()
        self._server.destroy()
        self._node.destroy_node()


def commands(width_m: float, force_n: float = 30.0) -> JointCommand:
    still = (0.0,) * len(MODEL.home_rad)
    return JointCommand(
        tick=1, mono_s=1.0, q_rad=MODEL.home_rad, dq_rad_s=still, gripper_width_m=width_m, gripper_force_n=force_n
    )


@pytest.mark.parametrize("controller", ["gripper_command", "parallel_gripper_command"])
def test_a_vendor_s_action_closes_and_opens_one_goal_at_a_time(controller: GripperController, peer: Peer) -> None:
    pytest.importorskip(f"{PACKAGE}.action", reason=f"{PACKAGE} is not installed (it is no wheel)")
    gripper = GripperJoint(
        joint_names=("knuckle",), closed=0.8, open=0.0, controller=controller, action="hand/gripper_cmd",
        force_n_per_effort=2.0,
    )  # fmt: skip
    vendor = VendorGripper(
        peer.context, require_action(PACKAGE, GRIPPER_ACTIONS[controller], "test"), "hand/gripper_cmd"
    )
    try:
        safety = peer.spun(
            JointCommandPublisher, peer.node, MODEL, DriverConfig(command_topic="arm", gripper=gripper), 50.0
        )

        def until(count: int, width_m: float) -> bool:
            safety.send(commands(width_m))
            return len(vendor.goals) >= count

        wait_for(lambda: until(1, 0.0), what="the goal to close")
        assert vendor.goals == [(pytest.approx(0.8), pytest.approx(15.0))]
        wait_for(lambda: until(2, MAX_M), what="the goal to open")
        assert vendor.goals[1] == (pytest.approx(0.0), pytest.approx(15.0))
        assert vendor.cancelled == 1 and vendor.most_under_way == 1
        vendor.finish.set()
        wait_for(lambda: vendor.under_way == 0, what="the end of the second")
        for _ in range(100):
            safety.send(commands(0.98 * MAX_M))
        wait_for(lambda: until(3, 0.5 * MAX_M), what="a third")
        assert vendor.goals[2][0] == pytest.approx(0.4), "what differs little from the last goal is none"
    finally:
        vendor.close()


def test_without_control_msgs_the_package_is_named(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, f"{PACKAGE}.action", None)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    with pytest.raises(ConfigError, match=r"gripper_command needs .*; apt install ros-jazzy-control-msgs"):
        JointCommandPublisher(peer.node, MODEL, load_driver("franka", MODEL), 50.0)


def test_an_arm_without_a_topic_gets_goals_of_follow_joint_trajectory(peer: Peer) -> None:
    pytest.importorskip(f"{PACKAGE}.action", reason=f"{PACKAGE} is not installed (it is no wheel)")
    kind = require_action(PACKAGE, "FollowJointTrajectory", "test")
    goals: list[Any] = []

    def execute(handle: Any) -> Any:
        goals.append(handle.request.trajectory)
        handle.succeed()
        return kind.Result()

    server = peer.spun(ActionServer, peer.node, kind, "arm/follow_joint_trajectory", execute)
    driver = DriverConfig(controller="follow_joint_trajectory", action="arm/follow_joint_trajectory")
    safety = peer.spun(JointCommandPublisher, peer.node, MODEL, driver, 50.0)

    def until(count: int) -> bool:
        safety.send(commands(0.0))
        return len(goals) >= count

    wait_for(lambda: until(1), what="a goal")
    assert list(goals[0].joint_names) == list(MODEL.joint_names)
    assert list(goals[0].points[0].positions) == pytest.approx(list(MODEL.home_rad))
    assert goals[0].points[0].time_from_start.nanosec == pytest.approx(1e8)
    peer.spun(server.destroy)
