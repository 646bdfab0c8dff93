"""Urdf: the links and joints of a URDF file, as xacro writes it; read with the standard library only."""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from floop_robot.spec.errors import ConfigError

Vector = tuple[float, float, float]

_XACRO: Final = ("ros.org/wiki/xacro", "ros.org/xacro", "wiki.ros.org/xacro")


@dataclass(frozen=True)
class UrdfJoint:
    """A joint. What its `<limit>` does not state is None: absent, a range of zero width, or a rate of zero."""

    name: str
    kind: str
    """`revolute`, `continuous`, `prismatic`, `fixed`, `floating` or `planar`."""
    parent: str
    child: str
    xyz_m: Vector
    rpy_rad: Vector
    axis: Vector
    """In the joint's own frame; not normalised."""
    lower: float | None = None
    """rad, or m for a prismatic joint; so is `upper`."""
    upper: float | None = None
    velocity: float | None = None
    """rad/s or m/s."""
    effort: float | None = None
    """N·m or N."""
    mimics: str = ""
    """Joint that moves this one; empty: none."""
    multiplier: float = 1.0
    """Of the position of the joint that it mimics."""
    offset: float = 0.0
    """Added to that, rad or m."""

    @property
    def moves(self) -> bool:
        """Whether it is anything but fixed."""
        return self.kind != "fixed"

    @property
    def stroke(self) -> float:
        """From one end to the other, rad or m; 0 where no range is stated."""
        return 0.0 if self.lower is None or self.upper is None else self.upper - self.lower


@dataclass(frozen=True)
class Urdf:
    """A robot as links and joints. Files may hold more than one tree."""

    path: Path
    links: tuple[str, ...]
    joints: dict[str, UrdfJoint]

    def between(self, base: str, tip: str) -> list[UrdfJoint] | None:
        """The joints from link `base` to link `tip`; None when `tip` does not hang below `base`."""
        above = {joint.child: joint for joint in self.joints.values()}
        found, link = [], tip
        while link != base:
            joint = above.pop(link, None)  # removing it also ends a cycle in a malformed file
            if joint is None:
                return None
            found.append(joint)
            link = joint.parent
        return found[::-1]

    def below(self, link: str) -> list[UrdfJoint]:
        """All joints of the tree that begins with `link`."""
        found: list[UrdfJoint] = []
        links, joints = [link], list(self.joints.values())
        while links:
            here = links.pop()
            hanging = [joint for joint in joints if joint.parent == here and joint not in found]
            found += hanging
            links += [joint.child for joint in hanging]
        return found


def read_urdf(path: Path) -> Urdf:
    """Read a URDF file; raises `ConfigError` in one line that names file, joint and attribute."""
    root = read_urdf_xml(path)
    links = _names(root, "link", path)
    _names(root, "joint", path)
    joints = [_joint(element, path) for element in root.findall("joint")]
    for joint in joints:
        for end in (joint.parent, joint.child):
            if end not in links:
                raise ConfigError(f"{path}: joint {joint.name} names link {end}, which the file does not have")
    children = [joint.child for joint in joints]
    if twice := next((child for child in children if children.count(child) > 1), None):
        raise ConfigError(f"{path}: link {twice} is the child of two joints; a link hangs on one")
    return Urdf(path, links, {joint.name: joint for joint in joints})


def read_urdf_xml(path: Path) -> ElementTree.Element:
    """The root element `<robot>` with plain tag names; raises `ConfigError` in one line."""
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the robot model's urdf") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ConfigError(f"{path} is not valid XML: {error}") from None
    is_xacro = path.suffix == ".xacro"
    for element in root.iter():
        space, _, tag = element.tag.rpartition("}") if isinstance(element.tag, str) else ("", "", "")
        is_xacro |= any(name in space for name in _XACRO)
        if isinstance(element.tag, str):
            element.tag = tag
        is_xacro |= any(text.startswith(("${", "$(")) for text in element.attrib.values())
    if is_xacro:
        plain = path.with_suffix("").with_suffix(".urdf").name
        raise ConfigError(f"{path} is xacro, not URDF; expand it: `xacro {path.name} > {plain}`, and name that file")
    if root.tag != "robot":
        raise ConfigError(f"{path} is no URDF: its first element is <{root.tag}>, not <robot>")
    return root


def find_package_file(url: str, beside: Path) -> Path | None:
    """The file of a URDF's `package://`, `file://` or relative name; None where there is none.

    A package is looked for in the folders above the URDF, in AMENT_PREFIX_PATH and in ROS_PACKAGE_PATH.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return _file(beside / url)
    if scheme == "file":
        return _file(Path("/") / rest.lstrip("/")) or _file(beside / rest)
    package, _, inside = rest.partition("/")
    folders = [beside, *beside.absolute().parents]
    folders += map(Path, _search_path("ROS_PACKAGE_PATH"))
    places = [folder / package for folder in folders] + [folder for folder in folders if folder.name == package]
    places += [Path(prefix) / "share" / package for prefix in _search_path("AMENT_PREFIX_PATH")]
    return next((found for place in places if (found := _file(place / inside))), None)


def _file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _search_path(variable: str) -> list[str]:
    return [part for part in os.environ.get(variable, "").split(os.pathsep) if part]


def _names(root: ElementTree.Element, tag: str, path: Path) -> tuple[str, ...]:
    names = [element.get("name", "") for element in root.findall(tag)]
    if "" in names:
        raise ConfigError(f"{path}: {tag} number {names.index('') + 1} has no name; give it one")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{path}: {tag} {twice} is there twice; each needs a name of its own")
    return tuple(names)


def _joint(element: ElementTree.Element, path: Path) -> UrdfJoint:
    name, kind = element.attrib["name"], element.get("type", "")
    if kind not in ("revolute", "continuous", "prismatic", "fixed", "floating", "planar"):
        raise ConfigError(f"{path}: joint {name} has the type {kind!r}; use revolute, continuous, prismatic or fixed")
    where = f"{path}: joint {name}"
    limit, mimic = element.find("limit"), element.find("mimic")
    lower, upper = _number(limit, "lower", where), _number(limit, "upper", where)
    has_range = kind in ("revolute", "prismatic") and limit is not None and (lower or 0.0) != (upper or 0.0)
    axis = _vector(element.find("axis"), "xyz", (1.0, 0.0, 0.0), where)
    if kind != "fixed" and not any(axis):  # exporters write a zero axis for fixed joints
        raise ConfigError(f"{where}: axis xyz is zero; name the direction about which it turns")
    return UrdfJoint(
        name=name,
        kind=kind,
        parent=_link(element, "parent", where),
        child=_link(element, "child", where),
        xyz_m=_vector(element.find("origin"), "xyz", (0.0, 0.0, 0.0), where),
        rpy_rad=_vector(element.find("origin"), "rpy", (0.0, 0.0, 0.0), where),
        axis=axis,
        lower=(lower or 0.0) if has_range else None,
        upper=(upper or 0.0) if has_range else None,
        velocity=_number(limit, "velocity", where) or None,
        effort=_number(limit, "effort", where) or None,
        mimics=mimic.get("joint", "") if mimic is not None else "",
        multiplier=_mimic_number(mimic, "multiplier", 1.0, where),
        offset=_mimic_number(mimic, "offset", 0.0, where),
    )


def _link(joint: ElementTree.Element, end: str, where: str) -> str:
    found = joint.find(end)
    if found is None or not found.get("link"):
        raise ConfigError(f"{where} has no {end} link")
    return found.attrib["link"]


def _mimic_number(mimic: ElementTree.Element | None, key: str, default: float, where: str) -> float:
    value = _number(mimic, key, where)
    return default if value is None else value


def _number(element: ElementTree.Element | None, key: str, where: str) -> float | None:
    """None where it is not stated, or infinite."""
    text = element.get(key) if element is not None else None
    if element is None or text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ConfigError(f"{where}: {element.tag} {key} {text!r} is not a number")
    return value if math.isfinite(value) else None


def _vector(element: ElementTree.Element | None, key: str, default: Vector, where: str) -> Vector:
    text = element.get(key) if element is not None else None
    values: Sequence[float]
    try:
        values = [float(x) for x in text.split()] if text else default
    except ValueError:
        values = ()
    if element is None or len(values) != 3 or not all(map(math.isfinite, values)):
        if element is None:
            return default
        raise ConfigError(f"{where}: {element.tag} {key} {text!r} is not three numbers")
    return values[0], values[1], values[2]
