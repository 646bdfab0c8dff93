"""RViz's and Foxglove's files name topics that are there, and the markers tell the truth."""

from __future__ import annotations

import importlib
import json
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from floop_robot.spec.resources import share_dir
from floop_robot.spec.robot_model import load_robot
from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from std_msgs.msg import String

from floop_interfaces import msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.optional_messages import find_message
from floop_robot.ros.node.qos import EVENTS, LATCHED, SENSOR
from floop_robot.services.supervision.ros_domain import reserved_domain
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, RobotRig

RVIZ, FOXGLOVE = share_dir() / "config/rviz/floop.rviz", share_dir() / "config/foxglove/floop.json"
MODEL = load_robot("panda")
BASE = f"{ROBOT}/{MODEL.base_link}"
DISPLAYED = {
    "RobotModel": "std_msgs/msg/String",
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Pose": "geometry_msgs/msg/PoseStamped",
}
"""What RViz's displays subscribe to."""
ABSENT = {"visualization_msgs/msg/MarkerArray"} if find_message("visualization_msgs", "MarkerArray") is None else set()
NO_MARKERS = "visualization_msgs is not installed here: `make setup-ros` installs it"


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RobotRig, Peer]]:
    with reserved_domain() as domain:
        rig, peer = RobotRig(tmp_path_factory.mktemp("viewers"), domain), Peer(domain)
        rig.install()
        rig.start_arm()
        rig.start("policy_node", "autostart:=true")
        states = peer.listen(msg.EpisodeState, f"/{ROBOT}/{topics.EPISODE_STATE}", LATCHED)
        wait_for(lambda: states and states[-1].phase == msg.EpisodeState.PHASE_RUNNING, 40.0, "a running episode")
        yield rig, peer
        rig.close()
        peer.close()


def in_rviz() -> dict[str, str]:
    """Topic → type of each display."""
    displays = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]
    found = {}
    for display in displays:
        topic = display.get("Topic") or display.get("Description Topic")
        if topic is not None:
            found[topic["Value"]] = DISPLAYED[display["Class"].split("/")[1]]
    return found


def strings(node: Any) -> Iterator[str]:
    """All texts of a JSON document, keys too."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from node
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


def in_foxglove() -> dict[str, str]:
    """Topic → the field of it that is shown, or nothing."""
    found = [text.partition(".") for text in strings(json.loads(FOXGLOVE.read_text())) if text.startswith("/")]
    return {topic: field for topic, _, field in found}


def test_every_topic_of_the_viewers_is_there_with_its_type(robot: tuple[RobotRig, Peer]) -> None:
    _, peer = robot

    def graph() -> dict[str, list[str]]:
        return dict(peer.node.get_topic_names_and_types())

    wanted = {topic: kind for topic, kind in in_rviz().items() if kind not in ABSENT}
    assert len(in_rviz()) >= 4 and len(in_foxglove()) >= 8
    wait_for(lambda: all(graph().get(topic) == [kind] for topic, kind in wanted.items()), what=f"{wanted}")
    absent = {topic for topic, kind in in_rviz().items() if kind in ABSENT}
    wait_for(lambda: set(in_foxglove()) - absent <= set(graph()), what=f"{in_foxglove()}")
    for topic, path in in_foxglove().items():
        kind = graph().get(topic, [""])[0]
        if path and kind:
            package, _, name = kind.split("/")
            fields = getattr(importlib.import_module(f"{package}.msg"), name).get_fields_and_field_types()
            assert re.match(r"\w+", path)[0] in fields, f"{topic} has no {path}"  # type: ignore[index]


def test_panels_of_the_layout_are_placed_and_described() -> None:
    layout = json.loads(FOXGLOVE.read_text())
    described = set(layout["configById"])
    assert described <= set(strings(layout["layout"]))
    rviz = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]
    assert rviz["Global Options"]["Fixed Frame"] == layout["configById"]["3D!cell"]["followTf"] == BASE


def test_the_simulated_arm_publishes_its_description(robot: tuple[RobotRig, Peer]) -> None:
    heard = robot[1].listen(String, f"/{ROBOT}/{topics.ROBOT_DESCRIPTION}", LATCHED)
    text = wait_for(lambda: heard and heard[-1].data, what="the description")
    assert ElementTree.fromstring(text).get("name")
    links = {link.get("name") for link in ElementTree.fromstring(text).findall("link")}
    assert {MODEL.base_link, MODEL.tip_link} <= links


def test_markers_show_target_object_workspace_and_version_while_somebody_looks(robot: tuple[RobotRig, Peer]) -> None:
    visualization_msgs: Any = pytest.importorskip("visualization_msgs.msg", reason=NO_MARKERS)
    _, peer = robot
    seen = peer.listen(msg.PerceivedObject, f"/{ROBOT}/{topics.PERCEIVED_OBJECT}", SENSOR)
    heard: list[Any] = []
    topic = f"/{ROBOT}/{topics.MARKERS}"
    kind = visualization_msgs.MarkerArray
    subscription = peer.node.create_subscription(kind, topic, heard.append, EVENTS)

    def by_name(markers: Any) -> dict[str, Any]:
        return {marker.ns: marker for marker in markers.markers}

    def complete() -> dict[str, Any]:
        markers = by_name(heard[-1]) if heard else {}
        return markers if {"workspace", "status", "target", "object", "object_class"} <= set(markers) else {}

    found = wait_for(complete, what="all markers")
    assert {marker.header.frame_id for marker in found.values()} == {BASE}
    assert ROBOT in found["status"].text and " v7 " in found["status"].text
    low, high = MODEL.limits.workspace_low_m, MODEL.limits.workspace_high_m
    points = [(p.x, p.y, p.z) for p in found["workspace"].points]
    assert len(points) == 24 and (min(points), max(points)) == (low, high)
    target = found["target"].pose.position
    assert all(a - 0.02 <= b <= c + 0.02 for a, b, c in zip(low, (target.x, target.y, target.z), high, strict=True))
    # A new episode, with another object, may begin between the two messages.
    shown = wait_for(lambda: next((m for m in map(by_name, heard) if any(_shows(m, o) for o in seen)), None))
    assert shown["object"].lifetime.sec > 0
    peer.spun(peer.node.destroy_subscription, subscription)
    other = peer.listen(msg.SafetyStatus, f"/{ROBOT}/{topics.SAFETY_STATUS}", SENSOR)
    count = len(heard)
    wait_for(lambda: len(other) > 50)
    assert len(heard) == count
    began = time.monotonic()
    again = peer.listen(kind, topic, EVENTS)  # somebody looks again
    wait_for(lambda: len(again) > 2)
    assert len(again) <= 6 * (time.monotonic() - began) + 2  # at a low rate


def _shows(markers: dict[str, Any], perceived: Any) -> bool:
    """Whether the markers show this object: class and size."""
    if not perceived.present or not {"object", "object_class"} <= set(markers):
        return False
    scale, size = markers["object"].scale, perceived.size_m
    return markers["object_class"].text == perceived.object_class and (scale.x, scale.z) == pytest.approx(
        (size.x, size.z)
    )


def test_both_files_are_installed() -> None:
    text = (Path(__file__).parents[2] / "setup.py").read_text()
    assert 'files("config/rviz/*")' in text and 'files("config/foxglove/*")' in text
