"""MarkerPublisher: what the robot sees and wants, for RViz and Foxglove; costs nothing while nobody looks."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Vector3
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from std_msgs.msg import ColorRGBA

from floop_robot.robot.messages import PerceivedObject, Vec3
from floop_robot.ros.arm.convert import pose_of
from floop_robot.ros.node import topics
from floop_robot.ros.node.optional_messages import find_message, how_to_install
from floop_robot.ros.node.qos import EVENTS
from floop_robot.ros.node.stamps import header
from floop_robot.ros.node.timers import create_steady_timer

PERIOD_S: Final = 0.2
LIFETIME_S: Final = 1
"""Markers of a node that fell silent vanish after this time."""
_ABOVE_M: Final = 0.15
_TEXT_M: Final = 0.05
_TARGET_M: Final = 0.025
_LINE_M: Final = 0.003
_GREEN, _AMBER = (0.2, 0.8, 0.3, 0.9), (0.95, 0.65, 0.1, 0.8)
_GREY, _WHITE, _RED = (0.6, 0.6, 0.6, 0.6), (0.95, 0.95, 0.95, 1.0), (0.9, 0.15, 0.1, 1.0)

log = logging.getLogger(__name__)


class MarkerScene(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of one robot; positions in its base frame."""

    frame: str
    text: str
    is_stopped: bool
    workspace_low_m: Vec3
    workspace_high_m: Vec3
    target_m: Vec3 | None
    """Where the TCP is commanded to be; None before the first command."""
    object: PerceivedObject | None


class MarkerPublisher:
    """Publishes `markers` at 5 Hz while somebody subscribes, in the node's executor."""

    def __init__(self, node: Node, look: Callable[[], MarkerScene | None]) -> None:
        """`look` says what is to be shown; None: nothing yet."""
        self._look = look
        self._array = find_message("visualization_msgs", "MarkerArray")
        self._marker = find_message("visualization_msgs", "Marker")
        if self._array is None:
            log.info("no markers: visualization_msgs is missing; %s", how_to_install("visualization_msgs"))
            return
        self._timer = create_steady_timer(PERIOD_S, node, self._publish)
        self._timer.cancel()
        # Told of subscribers, the executor need not wake up to count them.
        watch = PublisherEventCallbacks(matched=self._on_match)
        self._publisher = node.create_publisher(self._array, topics.MARKERS, EVENTS, event_callbacks=watch)

    def _on_match(self, info: Any) -> None:
        if info.current_count:
            self._timer.reset()
        else:
            self._timer.cancel()

    def _publish(self) -> None:
        scene = self._look()
        if scene is not None and self._array is not None:
            self._publisher.publish(self._array(markers=list(_markers(scene, self._marker))))


def _markers(scene: MarkerScene, kind: Any) -> Iterator[Any]:
    low, high = scene.workspace_low_m, scene.workspace_high_m
    text_color = _RED if scene.is_stopped else _WHITE
    edges = [Point(x=x, y=y, z=z) for x, y, z in _edges(low, high)]
    yield _marker(kind, scene, "workspace", kind.LINE_LIST, Pose(), (_LINE_M, 0.0, 0.0), _GREY, points=edges)
    above = (0.0, 0.0, high[2] + _ABOVE_M)
    yield _marker(
        kind,
        scene,
        "status",
        kind.TEXT_VIEW_FACING,
        pose_of(above, 0.0),
        (0.0, 0.0, _TEXT_M),
        text_color,
        text=scene.text,
    )
    if scene.target_m is not None:
        size = (_TARGET_M, _TARGET_M, _TARGET_M)
        yield _marker(kind, scene, "target", kind.SPHERE, pose_of(scene.target_m, 0.0), size, _GREEN)
    if (seen := scene.object) is not None:
        # A class without a shape of its own is shown by the box around it.
        shape = {"cylinder": kind.CYLINDER, "sphere": kind.SPHERE}.get(seen.object_class, kind.CUBE)
        pose = pose_of(seen.position_m, seen.yaw_rad)
        yield _marker(kind, scene, "object", shape, pose, seen.size_m, _AMBER)
        x, y, z = seen.position_m
        label = pose_of((x, y, z + seen.size_m[2] / 2 + _TEXT_M), 0.0)
        size = (0.0, 0.0, _TEXT_M / 2)
        yield _marker(kind, scene, "object_class", kind.TEXT_VIEW_FACING, label, size, _WHITE, text=seen.object_class)


def _marker(
    kind: Any,
    scene: MarkerScene,
    name: str,
    shape: int,
    pose: Pose,
    size_m: Vec3,
    color: tuple[float, float, float, float],
    **more: Any,
) -> Any:
    red, green, blue, alpha = color
    return kind(
        header=header(scene.frame),
        ns=name,
        type=shape,
        pose=pose,
        scale=Vector3(x=size_m[0], y=size_m[1], z=size_m[2]),
        color=ColorRGBA(r=red, g=green, b=blue, a=alpha),
        lifetime=Duration(sec=LIFETIME_S),
        **more,
    )


def _edges(low: Vec3, high: Vec3) -> Iterator[Vec3]:
    """The ends of a box's twelve edges, two by two."""
    ends = list(zip(low, high, strict=True))
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        for a, b in itertools.product(ends[first], ends[second]):
            for along in ends[axis]:
                corner = [0.0, 0.0, 0.0]
                corner[axis], corner[first], corner[second] = along, a, b
                yield corner[0], corner[1], corner[2]
