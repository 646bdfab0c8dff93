"""Objects from `vision_msgs/Detection3DArray`."""

from __future__ import annotations

from typing import Any

from rclpy.serialization import deserialize_message

from floop_robot.robot.perception import Sighting, Sightings, checked_size
from floop_robot.robot.transform import checked_transform
from floop_robot.ros.node.io import PolledSubscription
from floop_robot.ros.node.optional_messages import find_message, how_to_install
from floop_robot.ros.node.qos import LATEST
from floop_robot.ros.node.stamps import from_time
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.frame_config import DetectionsTopic


class DetectionsSubscriber:
    """The newest message's detections, in their own frames. For one thread."""

    def __init__(self, node: Any, settings: DetectionsTopic) -> None:
        """Raises `ConfigError` where `vision_msgs` is not installed."""
        self._kind = find_message("vision_msgs", "Detection3DArray")
        if self._kind is None:
            cure = how_to_install("vision_msgs")
            raise ConfigError(f"detections in the driver file needs vision_msgs, which is not installed: {cure}")
        self.topic, self._min_score = settings.topic, settings.min_score
        self._subscription = PolledSubscription(node, self._kind, settings.topic, LATEST)

    def receive(self) -> Sightings | None:
        """What came since the last call, without detections below the least score; None when nothing came."""
        for data, mono_s in self._subscription.take():
            try:
                message = deserialize_message(data, self._kind)
            except RuntimeError as error:  # of the middleware
                return Sightings(mono_s, (), (str(error),))
            return self._sightings(message, mono_s)
        return None

    def _sightings(self, message: Any, mono_s: float) -> Sightings:
        objects, faults = [], []
        for i, detection in enumerate(message.detections):
            best = max(detection.results, key=lambda result: result.hypothesis.score, default=None)
            if best is None or not best.hypothesis.score >= self._min_score:  # NaN is not, either
                continue
            try:
                objects.append(_sighting(message, detection, best))
            except ValueError as error:
                faults.append(f"detection {i} ({best.hypothesis.class_id or 'no class'}): {error}")
        return Sightings(mono_s, tuple(objects), tuple(faults))


def _sighting(message: Any, detection: Any, best: Any) -> Sighting:
    """An object's box, or where it has none the pose of its model, without a size."""
    header = detection.header if detection.header.frame_id else message.header
    size = (detection.bbox.size.x, detection.bbox.size.y, detection.bbox.size.z)
    pose = detection.bbox.center if any(size) else best.pose.pose
    p, q = pose.position, pose.orientation
    return Sighting(
        frame=header.frame_id,
        stamp_ns=from_time(header.stamp),
        pose=checked_transform((p.x, p.y, p.z), (q.x, q.y, q.z, q.w)),
        object_class=best.hypothesis.class_id,
        size_m=checked_size(size) if any(size) else None,
        score=best.hypothesis.score,
    )
