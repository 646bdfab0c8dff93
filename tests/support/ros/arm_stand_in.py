"""An arm and its perception that speak nothing but standard messages, under names of their own; behind them, PyBullet.

Of floop it knows the simulated world alone: no message, no node, no name. Its trajectory controller is as strict as the
one of ros2_control (Jazzy): every joint named, a point in the future, and no velocity at the end of a trajectory. When
the arm is at home with an open gripper and the object was moved, a person places the next object.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import threading

import pybullet as bullet
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenario_of, seed_of
from floop_envs.world import World
from floop_robot.spec.robot_model import load_robot

ARM = tuple(f"left_arm_j{i + 1}" for i in range(7))
KNUCKLE, CLOSED_RAD, OPEN_RAD = "left_knuckle", 0.8, 0.0
CAMERA_M, CAMERA_RPY = (0.9, 0.35, 0.7), (2.7, 0.3, 1.1)
"""Where the camera hangs, above the far corner of the table."""
PERIOD_S = 0.02
CLASS = "box"


class Arm:
    def __init__(self, node: Node) -> None:
        self.world = World(load_robot("panda"))
        self.home = self.world.robot.home_rad
        self.width = self.full = self.world.robot.gripper.max_width_m
        self.q, self.dq = self.home, (0.0,) * 7
        self.pieces = self.refused = 0
        self.spawn = (0.0, 0.0, 0.0)
        self.from_camera = bullet.invertTransform(CAMERA_M, bullet.getQuaternionFromEuler(CAMERA_RPY))
        self.node = node
        self.joints = node.create_publisher(JointState, "left/joint_states", 10)
        self.pose = node.create_publisher(PoseStamped, "object_pose", qos_profile_sensor_data)
        self.note = node.create_publisher(String, "stand_in", 10)
        node.create_subscription(JointTrajectory, "left/arm_controller/joint_trajectory", self.follow, 1)
        node.create_subscription(Float64MultiArray, "left/gripper_controller/commands", self.grip, 1)
        self.next_piece()
        self.timer = node.create_timer(PERIOD_S, self.tick)

    def next_piece(self) -> None:
        source = TrainingScenarios("floop/Pick-v0")
        while True:
            self.pieces += 1
            scenario = scenario_of(source, seed_of(Purpose.REPORT, 3, self.pieces))
            if scenario.object.object_class == CLASS:
                break
        self.world.reset(scenario)
        self.q, self.dq, self.width = self.home, (0.0,) * 7, self.full
        self.spawn = self.world.truth().object_position_m
        self.size = scenario.object.size_m

    def follow(self, m: JointTrajectory) -> None:
        point = m.points[-1] if m.points else None
        if (
            point is None
            or sorted(m.joint_names) != sorted(ARM)
            or len(point.positions) != len(ARM)
            or any(point.velocities)
            or point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 <= 0.0
            or not all(map(math.isfinite, point.positions))
        ):
            self.refused += 1
            return
        q = tuple(point.positions[m.joint_names.index(name)] for name in ARM)
        self.dq = tuple((new - old) / PERIOD_S for new, old in zip(q, self.q, strict=True))
        self.q = q

    def grip(self, m: Float64MultiArray) -> None:
        self.width = self.full * (m.data[0] - CLOSED_RAD) / (OPEN_RAD - CLOSED_RAD)

    def tick(self) -> None:
        self.world.servo_tick(self.q, self.dq, self.width, 30.0)
        self.dq = (0.0,) * 7
        state = self.world.state()
        near = max(abs(a - b) for a, b in zip(state.q_rad, self.home, strict=True)) < 0.04
        truth = self.world.truth()
        if near and state.gripper_width_m > 0.9 * self.full and math.dist(truth.object_position_m, self.spawn) > 0.03:
            self.next_piece()
            state = self.world.state()
        stamp = self.node.get_clock().now().to_msg()
        if state.object is not None:
            sight = PoseStamped()
            sight.header.stamp, sight.header.frame_id = stamp, "left_camera"
            turn = bullet.getQuaternionFromEuler((0.0, 0.0, state.object.yaw_rad))
            p, q = bullet.multiplyTransforms(*self.from_camera, state.object.position_m, turn)
            sight.pose.position.x, sight.pose.position.y, sight.pose.position.z = p
            o = sight.pose.orientation
            o.x, o.y, o.z, o.w = q
            self.pose.publish(sight)
        share = state.gripper_width_m / self.full
        order = (3, 0, 6, 1, 5, 2, 4)  # drivers sort as they please
        joints = JointState(
            name=[KNUCKLE, *(ARM[i] for i in order)],
            position=[CLOSED_RAD + (OPEN_RAD - CLOSED_RAD) * share, *(state.q_rad[i] for i in order)],
            velocity=[0.0, *(state.dq_rad_s[i] for i in order)],
            effort=[state.gripper_effort_n / 10.0, *(0.0,) * 7],
        )
        joints.header.stamp = stamp
        self.joints.publish(joints)
        figures = {"pieces": self.pieces, "refused": self.refused, "lift_m": truth.lift_m}
        self.note.publish(String(data=json.dumps(figures)))


def main() -> None:
    context, stop = Context(), threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    rclpy.init(args=sys.argv, context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("vendor_driver", context=context)
    arm = Arm(node)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    arm.world.close()
    rclpy.try_shutdown(context=context)


if __name__ == "__main__":
    main()
