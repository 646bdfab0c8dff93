"""PerceptionSubscriber: the object and the tote in the arm's base frame, from whatever topics perception publishes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import msgspec
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.robot.frame_tree import FrameTree
from floop_robot.robot.messages import PerceivedObject, Vec3
from floop_robot.robot.perception import (
    Found,
    ObjectFinder,
    PerceptionReport,
    PoseLocator,
    RefusalLog,
    Sighting,
    Sightings,
    checked_size,
    perceived,
)
from floop_robot.robot.transform import checked_transform
from floop_robot.robot.upright import tilt_of
from floop_robot.ros.arm.detections import DetectionsSubscriber
from floop_robot.ros.arm.tf_subscriber import tf_reader
from floop_robot.ros.node import topics
from floop_robot.ros.node.cdr import CdrMessage
from floop_robot.ros.node.io import CdrSubscriber
from floop_robot.ros.node.qos import LATEST
from floop_robot.ros.node.stamps import from_time_numbers
from floop_robot.spec.driver_config import DriverConfig
from floop_robot.spec.robot_model import RobotModel

_NO_SIZE = "no size is known; publish perceived_object once, or set assumed_object in the driver file"


class _LastSeen(msgspec.Struct, frozen=True):
    """What a topic last said, and when it arrived; None: there is no object."""

    object: PerceivedObject | None = None
    mono_s: float = -math.inf


class PerceptionSubscriber:
    """Reads perception. Where several topics speak, `PerceivedObject` and detections come before bare poses.

    A bare pose gets the class and size last known. Everything is transformed into the base frame, or refused.
    """

    def __init__(self, node: Node, model: RobotModel, driver: DriverConfig, robot: str) -> None:
        """Raises `ConfigError` where a message type that the driver description asks for is not installed."""
        self._timeout_s, assumed = driver.perception_timeout_s, driver.assumed_object
        self.refusals = RefusalLog(node.get_logger().warning)
        base_link = driver.base_link or model.base_link
        tree = FrameTree(base_link, driver.link_prefix(robot), driver.frames, also=model.base_link)
        self._locator = PoseLocator(tree, driver.assumed_frame, tf_reader(node, tree), time.monotonic)
        self._objects = self._subscribe(node, msg.PerceivedObject, topics.PERCEIVED_OBJECT, _object_sighting)
        self._poses = self._subscribe(node, PoseStamped, topics.OBJECT_POSE, _pose_sighting)
        self._totes = self._subscribe(node, PoseStamped, topics.TOTE_POSE, _pose_sighting)
        self._object_finder = self._finder(topics.PERCEIVED_OBJECT)
        self._pose_finder = self._finder(topics.OBJECT_POSE)
        self._tote_finder = self._finder(topics.TOTE_POSE)
        self._detections = DetectionsSubscriber(node, driver.detections) if driver.detections else None
        self._detection_finder = self._finder(driver.detections.topic) if driver.detections else None
        self._object, self._pose = _LastSeen(), _LastSeen()
        self._frame, self._tilt_rad = "", 0.0
        self._unsized_s = math.inf
        self.tote_m: Vec3 | None = None
        self.assumed = (
            None
            if assumed is None
            else PerceivedObject(
                object_class=assumed.object_class, size_m=assumed.size_m, position_m=(0.0, 0.0, 0.0), yaw_rad=0.0
            )
        )
        """Class and size of an object of which only the pose is published."""

    def latest(self, now_s: float) -> PerceivedObject | None:
        """The object as last seen; None when none was, or too long ago."""
        if (tote := self._tote_finder.find(self._totes.receive(), now_s)) is not None and tote.place is not None:
            self.tote_m = tote.place.position_m
        self._read_objects(now_s)
        if (found := self._pose_finder.find(self._poses.receive(), now_s)) is not None:
            self._pose = self._read(found, topics.OBJECT_POSE, now_s) or self._pose
        return self.seen(now_s)

    def seen(self, now_s: float) -> PerceivedObject | None:
        """What `latest` last said, unless that is too long ago; from any thread."""
        for seen in (self._object, self._pose):
            if now_s - seen.mono_s <= self._timeout_s:
                return seen.object
        return None

    def report(self, now_s: float) -> PerceptionReport:
        """For diagnostics; from any thread."""
        counts = dict(self.refusals.counts)
        by_topic = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        return PerceptionReport(self.refusals.line(now_s), sum(counts.values()), by_topic, self._frame, self._tilt_rad)

    def _read_objects(self, now_s: float) -> None:
        followed = self._object.object if now_s - self._object.mono_s <= self._timeout_s else None
        followed_m = followed.position_m if followed else None
        if (found := self._object_finder.find(self._objects.receive(), now_s)) is not None:
            self._object = self._read(found, topics.PERCEIVED_OBJECT, now_s) or self._object
        if self._detections is None or self._detection_finder is None:
            return
        if (found := self._detection_finder.find(self._detections.receive(), now_s, followed_m)) is not None:
            self._object = self._read(found, self._detections.topic, now_s) or self._object

    def _read(self, found: Found, topic: str, now_s: float) -> _LastSeen | None:
        """What was found, upright; None when nobody ever said how large it is."""
        if found.sighting is None or found.place is None:
            return _LastSeen(None, found.mono_s)
        known = perceived(found.sighting, found.place, self.assumed)
        if known is None:
            self._unsized_s = min(self._unsized_s, now_s)
            if now_s - self._unsized_s > self._timeout_s:  # before, its size may be on another topic, on its way
                self.refusals.add(topic, _NO_SIZE, now_s)
            return None
        if found.sighting.size_m is not None:
            self.assumed = msgspec.structs.replace(known, size_m=found.sighting.size_m)
        self._frame, self._tilt_rad = found.sighting.frame, tilt_of(found.place.rotation)
        return _LastSeen(known, found.mono_s)

    def _subscribe(
        self, node: Node, kind: type, topic: str, convert: Callable[[CdrMessage, float], Sightings]
    ) -> CdrSubscriber[Sightings]:
        return CdrSubscriber(node, kind, topic, LATEST, partial(self._convert, topic, convert))

    def _convert(
        self, topic: str, convert: Callable[[CdrMessage, float], Sightings], message: CdrMessage, mono_s: float
    ) -> Sightings:
        try:
            return convert(message, mono_s)
        except ValueError as error:
            self.refusals.add(topic, str(error), mono_s)
            raise

    def _finder(self, topic: str) -> ObjectFinder:
        return ObjectFinder(topic, self._locator, self.refusals, self._timeout_s)


def _pose_sighting(message: CdrMessage, mono_s: float) -> Sightings:
    return Sightings(mono_s, (_sighting(message),))


def _object_sighting(message: CdrMessage, mono_s: float) -> Sightings:
    if not message["present"]:
        return Sightings(mono_s, ())
    sighting, size_m = _sighting(message), checked_size(message["size_m"])
    object_class = message.layout.message.object_class
    return Sightings(mono_s, (msgspec.structs.replace(sighting, object_class=object_class, size_m=size_m),))


def _sighting(message: CdrMessage) -> Sighting:
    return Sighting(
        frame=message.layout.message.header.frame_id,
        stamp_ns=from_time_numbers(message["header.stamp"]),
        pose=checked_transform(message["pose.position"], message["pose.orientation"]),
    )
