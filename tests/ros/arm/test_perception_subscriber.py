"""Poses in any frame over real topics: to the right place in the base frame, or refused by name."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from std_msgs.msg import Header

from floop_interfaces import msg
from floop_robot.robot.messages import PerceivedObject
from floop_robot.robot.transform import Transform, from_rpy
from floop_robot.ros.arm.convert import object_to_msg, pose_stamped
from floop_robot.ros.arm.perception_subscriber import PerceptionSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.optional_messages import find_message
from floop_robot.ros.node.qos import SENSOR
from floop_robot.spec.driver_config import AssumedObject, DriverConfig
from floop_robot.spec.frame_config import FixedFrame
from floop_robot.spec.robot_model import load_robot
from tests.support.ros.peer import Peer

MODEL = load_robot("panda")
BASE = f"robot_1/{MODEL.base_link}"
CAMERA = FixedFrame(xyz_m=(0.9, 0.3, 0.7), rpy_rad=(2.7, 0.3, 1.1))
OBJECT_M, YAW = (0.5, -0.1, 0.03), 0.5
BOX = AssumedObject(object_class="box", size_m=(0.04, 0.05, 0.06))


def seen_from_camera() -> Pose:
    camera = from_rpy(CAMERA.xyz_m, CAMERA.rpy_rad)
    found = camera.inverse() @ from_rpy(OBJECT_M, (0.0, 0.0, YAW))
    (x, y, z), (a, b, c, d) = found.position_m, found.rotation
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=a, y=b, z=c, w=d))


class Bench:
    """A subscriber in this process, and the publishers of its perception."""

    def __init__(self, peer: Peer, **driver: Any) -> None:
        given = {"command_topic": "c", "assumed_object": BOX, "frames": {"camera": CAMERA}} | driver
        self.subscriber = PerceptionSubscriber(peer.node, MODEL, DriverConfig(**given), "robot_1")
        self.poses = peer.node.create_publisher(PoseStamped, topics.OBJECT_POSE, SENSOR)
        self.totes = peer.node.create_publisher(PoseStamped, topics.TOTE_POSE, SENSOR)
        self.objects = peer.node.create_publisher(msg.PerceivedObject, topics.PERCEIVED_OBJECT, SENSOR)

    def look(self) -> PerceivedObject | None:
        return self.subscriber.latest(time.monotonic())

    @property
    def problem(self) -> str:
        return self.subscriber.report(time.monotonic()).problem

    def seen(self, publisher: Any, message: Any) -> PerceivedObject:
        """What is seen once the message has arrived."""

        def look() -> PerceivedObject | None:
            publisher.publish(message)
            return self.look()

        return wait_for(look, what=f"an object in {message.header.frame_id}")

    def refused(self, publisher: Any, message: Any) -> str:
        """Why a message was refused; nothing is seen meanwhile."""
        before = self.subscriber.report(0.0).refused

        def look() -> bool:
            publisher.publish(message)
            assert self.look() is None
            return self.subscriber.report(0.0).refused > before

        wait_for(look, what=f"a refusal in {message.header.frame_id}")
        return self.problem


def header(frame: str) -> Header:
    return Header(frame_id=frame)


@pytest.mark.parametrize("frame", ["camera", "/camera", "robot_1/camera"])
def test_a_pose_in_the_cameras_frame_is_where_it_is_in_the_base(peer: Peer, frame: str) -> None:
    bench = Bench(peer)
    found = bench.seen(bench.poses, PoseStamped(header=header(frame), pose=seen_from_camera()))
    assert found.position_m == pytest.approx(OBJECT_M) and found.yaw_rad == pytest.approx(YAW)
    assert (found.object_class, found.size_m) == ("box", BOX.size_m)
    bench.totes.publish(PoseStamped(header=header(frame), pose=seen_from_camera()))
    wait_for(lambda: (bench.look(), bench.subscriber.tote_m)[1], what="the tote")
    assert bench.subscriber.tote_m == pytest.approx(OBJECT_M)
    message = msg.PerceivedObject(header=header(frame), present=True, object_class="mug", pose=seen_from_camera())
    message.size_m.x = message.size_m.y = message.size_m.z = 0.1
    found = wait_for(lambda: (seen := bench.seen(bench.objects, message)).object_class == "mug" and seen)
    assert found.position_m == pytest.approx(OBJECT_M)
    assert bench.problem == "" and bench.subscriber.report(0.0).frame == frame


def test_what_can_not_be_placed_is_refused_by_name_and_nothing_is_seen(peer: Peer) -> None:
    bench = Bench(peer)
    lens = bench.refused(bench.poses, pose_stamped(OBJECT_M, YAW, "lens"))
    assert lens.startswith("object_pose is refused: the frame 'lens' is neither")
    if find_message("tf2_msgs", "TFMessage") is None:
        assert "TF can't be read: install ros-" in lens
    other = pose_stamped(OBJECT_M, YAW, f"robot_2/{MODEL.base_link}")
    cases = {
        "": pose_stamped(OBJECT_M, YAW, ""),
        "give metres": pose_stamped((500.0, -100.0, 30.0), YAW, BASE),
        "position is": pose_stamped((math.nan, 0.0, 0.0), YAW, BASE),
        "0 0 0 0": PoseStamped(header=header(BASE), pose=Pose(orientation=Quaternion(w=0.0))),
        "no unit quaternion": PoseStamped(header=header(BASE), pose=Pose(orientation=Quaternion(z=1.0, w=1.0))),
        "not finite": pose_stamped((0.5, math.inf, 0.0), YAW, BASE),
    }
    for publisher, topic in ((bench.poses, topics.OBJECT_POSE), (bench.totes, topics.TOTE_POSE)):
        for message in (other, *cases.values()):
            bench.refused(publisher, message)
        assert f"{topic} " in bench.subscriber.report(0.0).by_topic
    assert bench.subscriber.tote_m is None
    size = object_to_msg(
        PerceivedObject(object_class="box", size_m=(40.0, 50.0, 60.0), position_m=OBJECT_M, yaw_rad=0.0), BASE
    )
    assert "perceived_object is refused: its size along x is 40; give metres" in bench.refused(bench.objects, size)


def test_each_reason_is_in_words(peer: Peer) -> None:
    empty = Bench(peer)
    assert "frame_id is empty" in empty.refused(empty.poses, pose_stamped(OBJECT_M, YAW, ""))
    assumed = Bench(peer, assumed_frame="camera")
    message = PoseStamped(pose=seen_from_camera())
    assert assumed.seen(assumed.poses, message).position_m == pytest.approx(OBJECT_M)
    unsized = Bench(peer, assumed_object=None)
    text = unsized.refused(unsized.poses, pose_stamped(OBJECT_M, YAW, BASE))
    assert text.endswith("publish perceived_object once, or set assumed_object in the driver file")


def test_an_object_on_its_side_has_its_size_as_it_lies(peer: Peer) -> None:
    bench = Bench(peer)
    (a, b, c, d) = from_rpy((0.0, 0.0, 0.0), (math.pi / 2, 0.0, 0.4)).rotation
    pose = Pose(position=Point(x=0.5, y=0.0, z=0.02), orientation=Quaternion(x=a, y=b, z=c, w=d))
    found = bench.seen(bench.poses, PoseStamped(header=header(BASE), pose=pose))
    assert sorted(found.size_m) == sorted(BOX.size_m) and found.size_m[2] == BOX.size_m[1]
    report = bench.subscriber.report(0.0)
    assert report.is_tilted and report.tilt_rad == pytest.approx(math.pi / 2)
    assert isinstance(from_rpy(OBJECT_M, (0.0, 0.0, 0.0)), Transform)


def test_detections_where_their_messages_are_missing_say_which_package_to_install(peer: Peer) -> None:
    if find_message("vision_msgs", "Detection3DArray") is not None:
        pytest.skip("vision_msgs is installed here")
    from floop_robot.spec.errors import ConfigError
    from floop_robot.spec.frame_config import DetectionsTopic

    with pytest.raises(ConfigError, match=r"needs vision_msgs, which is not installed: apt install ros-.*-vision-msgs"):
        Bench(peer, detections=DetectionsTopic())
