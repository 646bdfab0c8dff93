"""TF and `vision_msgs` over real topics, where their messages are installed: the wheels have none of them."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed: apt install ros-$ROS_DISTRO-tf2-msgs")
pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed: apt install ros-$ROS_DISTRO-vision-msgs")

from geometry_msgs.msg import PoseStamped, TransformStamped

from floop_robot.robot.frame_tree import FrameTree
from floop_robot.robot.kinematics import Kinematics
from floop_robot.robot.messages import PerceivedObject, RobotState
from floop_robot.ros.arm.convert import pose_of, pose_stamped
from floop_robot.ros.arm.perception_subscriber import PerceptionSubscriber
from floop_robot.ros.arm.tf_subscriber import TfSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.optional_messages import find_message
from floop_robot.ros.node.qos import LATCHED, SENSOR
from floop_robot.ros.node.stamps import to_time
from floop_robot.ros.sim.robot_model_publisher import RobotModelPublisher
from floop_robot.spec.driver_config import AssumedObject, DriverConfig
from floop_robot.spec.frame_config import DetectionsTopic
from floop_robot.spec.robot_model import load_robot
from tests.support.ros.peer import Peer

TFMessage: Any = find_message("tf2_msgs", "TFMessage")
Detection3D: Any = find_message("vision_msgs", "Detection3D")
Detection3DArray: Any = find_message("vision_msgs", "Detection3DArray")
ObjectHypothesisWithPose: Any = find_message("vision_msgs", "ObjectHypothesisWithPose")
MODEL = load_robot("panda")
BASE = f"robot_1/{MODEL.base_link}"
OBJECT_M = (0.5, -0.1, 0.03)
DRIVER = DriverConfig(
    command_topic="c",
    assumed_object=AssumedObject(object_class="box", size_m=(0.04, 0.05, 0.06)),
    detections=DetectionsTopic(topic="detections", min_score=0.5),
)


def transform(parent: str, child: str, x: float, stamp_ns: int = 0) -> TransformStamped:
    found = TransformStamped(child_frame_id=child)
    found.header.frame_id, found.header.stamp = parent, to_time(stamp_ns)
    found.transform.translation.x = x
    return found


def look(subscriber: PerceptionSubscriber) -> PerceivedObject | None:
    return subscriber.latest(time.monotonic())


def test_static_and_moving_transforms_place_a_pose(peer: Peer) -> None:
    static = peer.node.create_publisher(TFMessage, topics.TF_STATIC, LATCHED)
    moving = peer.node.create_publisher(TFMessage, topics.TF, 100)
    poses = peer.node.create_publisher(PoseStamped, topics.OBJECT_POSE, SENSOR)
    static.publish(TFMessage(transforms=[transform(BASE, "rail", 0.1), transform("head", "eye", 0.01)]))
    subscriber = PerceptionSubscriber(peer.node, MODEL, DRIVER, "robot_1")

    def seen() -> PerceivedObject | None:
        now_ns = time.time_ns()
        moving.publish(TFMessage(transforms=[transform("rail", "head", 0.2, now_ns)]))
        message = pose_stamped(OBJECT_M, 0.0, "eye")
        message.header.stamp = to_time(now_ns - 20_000_000)
        poses.publish(message)
        return look(subscriber)

    found = wait_for(seen, what="the object from the moving camera")
    assert found.position_m == pytest.approx((OBJECT_M[0] + 0.31, OBJECT_M[1], OBJECT_M[2]))


def test_a_frame_that_tf_does_not_have_is_refused_and_waited_for(peer: Peer) -> None:
    poses = peer.node.create_publisher(PoseStamped, topics.OBJECT_POSE, SENSOR)
    subscriber = PerceptionSubscriber(peer.node, MODEL, DRIVER, "robot_1")

    def refused() -> str:
        poses.publish(pose_stamped(OBJECT_M, 0.0, "lens"))
        assert look(subscriber) is None
        return subscriber.report(time.monotonic()).problem

    assert "'lens'" in wait_for(refused, what="the refusal")


def detection(name: str, score: float, x: float, size: float = 0.05) -> Any:
    found = Detection3D()
    found.bbox.center = pose_of((x, 0.0, 0.03), 0.3)
    found.bbox.size.x = found.bbox.size.y = found.bbox.size.z = size
    for class_id, value in ((name, score), ("other", score / 2)):
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = class_id, value
        found.results.append(result)
    return found


def test_the_best_detection_is_the_object_under_its_own_name(peer: Peer) -> None:
    publisher = peer.node.create_publisher(Detection3DArray, "detections", SENSOR)
    subscriber = PerceptionSubscriber(peer.node, MODEL, DRIVER, "robot_1")

    def send(*found: Any, frame: str = BASE) -> None:
        message = Detection3DArray(detections=list(found))
        message.header.frame_id = frame
        publisher.publish(message)

    def seen(*found: Any, **where: str) -> PerceivedObject | None:
        send(*found, **where)
        return look(subscriber)

    best = wait_for(lambda: seen(detection("mug", 0.9, 0.5), detection("box", 0.6, 0.3), detection("box", 0.1, 0.2)))
    assert (best.object_class, best.position_m) == ("mug", pytest.approx((0.5, 0.0, 0.03)))
    assert best.size_m == pytest.approx((0.05, 0.05, 0.05)) and best.yaw_rad == pytest.approx(0.3)
    # It stays the object, also when another one's score is higher for once.
    wait_for(
        lambda: (kept := seen(detection("mug", 0.7, 0.52), detection("box", 0.8, 0.3))) and kept.position_m[0] == 0.52
    )
    # All too uncertain: perception looked and saw none.
    wait_for(lambda: seen(detection("mug", 0.3, 0.5)) is None, what="no object")
    bad = [detection("mug", 0.9, 0.5, size=50.0), detection("mug", math.nan, 0.5)]
    wait_for(lambda: (seen(*bad), subscriber.report(time.monotonic()).problem)[1])
    assert "detection 0 (mug): its size along x is 50" in subscriber.report(time.monotonic()).problem
    # Without a box, the model's pose counts, with the size that is assumed.
    bare = detection("mug", 0.9, 0.0, size=0.0)
    bare.results[0].pose.pose = pose_of((0.45, 0.1, 0.02), 0.0)
    found = wait_for(lambda: (one := seen(bare)) and one.position_m[0] == 0.45 and one)
    assert found.object_class == "mug" and found.size_m == pytest.approx((0.05, 0.05, 0.05))


def test_a_simulated_arm_publishes_its_links_with_its_prefix(peer: Peer) -> None:
    shown = RobotModelPublisher(peer.node, MODEL, DRIVER, "robot_1")
    tree = FrameTree(MODEL.base_link, "robot_1/")
    reader = TfSubscriber(peer.node, tree, TFMessage)

    def placed() -> Any:
        stamp_ns = time.time_ns()
        state = RobotState(tick=1, stamp_ns=stamp_ns, mono_s=0.0, q_rad=MODEL.home_rad, dq_rad_s=(0.0,) * 7,
                           gripper_width_m=0.06, gripper_effort_n=0.0)  # fmt: skip
        shown.send(state)
        reader.read()
        try:
            return tree.from_tf(f"robot_1/{MODEL.tip_link}", stamp_ns), tree.from_tf(
                "robot_1/panda_leftfinger", stamp_ns
            )
        except ValueError:
            return None

    tip, _ = wait_for(placed, what="the links")
    assert tip.position_m == pytest.approx(Kinematics(MODEL).position(MODEL.home_rad), abs=1e-9)
