"""LinkFrames: where the links of a URDF are, for TF; all of them, also fingers and fixed ones."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import msgspec

from floop_robot.robot.messages import Vec3
from floop_robot.robot.transform import Transform, from_rpy, turn
from floop_robot.spec.errors import ConfigError


class LinkFrame(msgspec.Struct, frozen=True):
    """A link in its parent link."""

    parent: str
    link: str
    transform: Transform


class _Joint(msgspec.Struct, frozen=True):
    name: str
    parent: str
    child: str
    origin: Transform
    axis: Vec3
    kind: str
    source: str
    """The joint whose position counts: its own, or the one that it mimics."""
    multiplier: float
    offset: float

    def at(self, positions: Mapping[str, float]) -> Transform:
        """Its child link; a joint without a position is at 0."""
        q = self.multiplier * positions.get(self.source, 0.0) + self.offset
        if self.kind == "prismatic":
            x, y, z = self.axis
            return self.origin @ Transform((x * q, y * q, z * q))
        return self.origin @ turn(self.axis, q)


class LinkFrames:
    """The joints of one URDF."""

    def __init__(self, urdf: Path) -> None:
        """Raises `ConfigError` for a file that is none."""
        try:
            root = ElementTree.parse(urdf).getroot()
            joints = [_joint(each) for each in root.findall("joint")]
        except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
            raise ConfigError(f"{urdf} can't be read as a URDF: {error!r}") from None
        self._moving = [joint for joint in joints if joint.kind != "fixed"]
        self.fixed = [LinkFrame(joint.parent, joint.child, joint.origin) for joint in joints if joint.kind == "fixed"]
        """Links that don't move in their parents."""

    def moving(self, positions: Mapping[str, float]) -> list[LinkFrame]:
        """The other links, with the joints at these positions (rad, m)."""
        return [LinkFrame(joint.parent, joint.child, joint.at(positions)) for joint in self._moving]


def _joint(element: ElementTree.Element) -> _Joint:
    origin, axis, mimic = element.find("origin"), element.find("axis"), element.find("mimic")
    parent, child = element.find("parent"), element.find("child")
    if parent is None or child is None:
        raise ValueError(f"joint {element.get('name')} lacks a parent or a child")
    x, y, z = _numbers(axis, "xyz", "1 0 0")
    length = math.sqrt(x * x + y * y + z * z) or 1.0
    return _Joint(
        name=element.attrib["name"],
        parent=parent.attrib["link"],
        child=child.attrib["link"],
        origin=from_rpy(_numbers(origin, "xyz", "0 0 0"), _numbers(origin, "rpy", "0 0 0")),
        axis=(x / length, y / length, z / length),
        kind=element.get("type", "fixed"),
        source=mimic.attrib["joint"] if mimic is not None else element.attrib["name"],
        multiplier=float(mimic.get("multiplier", "1")) if mimic is not None else 1.0,
        offset=float(mimic.get("offset", "0")) if mimic is not None else 0.0,
    )


def _numbers(element: ElementTree.Element | None, key: str, default: str) -> Vec3:
    x, y, z = (float(word) for word in (element.get(key, default) if element is not None else default).split())
    return (x, y, z)
