"""Chain: the joints from base to tip of an arm, read from its URDF with the standard library only."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.robot_model import RobotModel

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Chain:
    """A serial chain of revolute joints; each turns about its own z axis after `origins[i]`.

    URDF joints may turn about any axis and follow fixed joints; both are included in the origins.
    """

    origins: Matrix
    """Homogeneous transforms, shape (n, 4, 4): from the frame after joint i - 1 to the frame before joint i."""
    tip: Matrix
    """From the frame after the last joint to the tip link, shape (4, 4)."""

    @property
    def size(self) -> int:
        """Number of joints."""
        return len(self.origins)


def load_chain(model: RobotModel) -> Chain:
    """Read the chain of `model` from its URDF; raises `ConfigError` or `UnknownName` with the file's name."""
    return read_chain(model.urdf_path, model.base_link, model.tip_link, model.joint_names)


def read_chain(path: Path, base: str, tip: str, joint_names: tuple[str, ...]) -> Chain:
    """The chain from link `base` to link `tip`; its moving joints must be `joint_names`, in that order."""
    joints = _joints_to(path, base, tip)
    moving = tuple(j.attrib["name"] for j in joints if j.get("type") != "fixed")
    if moving != joint_names:
        raise ConfigError(f"{path}: moving joints from {base} to {tip} are {moving}, but joint_names is {joint_names}")
    origins, pending = [], np.eye(4)
    for joint in joints:
        pending = pending @ _origin(joint)
        if joint.get("type") == "fixed":
            continue
        if joint.get("type") not in ("revolute", "continuous"):
            raise ConfigError(f"{path}: joint {joint.get('name')} is {joint.get('type')}; only revolute is supported")
        turn = _turn_z_onto(_numbers(joint, "axis", "xyz", (1.0, 0.0, 0.0)))
        origins.append(pending @ turn)
        pending = turn.T
    return Chain(origins=np.array(origins), tip=pending)


def _joints_to(path: Path, base: str, tip: str) -> list[ElementTree.Element]:
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the robot model's urdf") from None
    except ElementTree.ParseError as error:
        raise ConfigError(f"{path} is not valid XML: {error}") from None
    parents = {_link(j, "child", path): j for j in root.findall("joint")}
    joints, link = [], tip
    while link != base:
        if link not in parents:
            links = [link.get("name", "") for link in root.findall("link")]
            if tip not in links or base not in links:
                raise UnknownName("link", base if tip in links else tip, links, str(path))
            raise ConfigError(f"{path}: link {tip} does not hang below {base}")
        joint = parents.pop(link)  # removing it also ends a cycle in a malformed file
        joints.append(joint)
        link = _link(joint, "parent", path)
    return joints[::-1]


def _link(joint: ElementTree.Element, end: str, path: Path) -> str:
    found = joint.find(end)
    if found is None or not found.get("link"):
        raise ConfigError(f"{path}: joint {joint.get('name')} has no {end} link")
    return found.attrib["link"]


def _numbers(joint: ElementTree.Element, tag: str, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    found = joint.find(tag)
    text = found.get(key) if found is not None else None
    try:
        values = tuple(float(x) for x in text.split()) if text else default
    except ValueError:
        values = ()
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise ConfigError(f"joint {joint.get('name')}: {tag} {key} {text!r} is not three numbers")
    return values


def _origin(joint: ElementTree.Element) -> Matrix:
    out = np.eye(4)
    out[:3, :3] = _rpy(*_numbers(joint, "origin", "rpy", (0.0, 0.0, 0.0)))
    out[:3, 3] = _numbers(joint, "origin", "xyz", (0.0, 0.0, 0.0))
    return out


def _rpy(roll: float, pitch: float, yaw: float) -> Matrix:
    """Rotation of URDF's fixed-axis roll, pitch, yaw."""
    (sr, cr), (sp, cp), (sy, cy) = [(math.sin(a), math.cos(a)) for a in (roll, pitch, yaw)]
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def _turn_z_onto(axis: tuple[float, ...]) -> Matrix:
    """A rotation, as a (4, 4) transform, that turns the z axis onto `axis`."""
    z = np.array(axis) / np.linalg.norm(axis)
    helper = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    x = helper - z * (helper @ z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3] = np.column_stack([x, np.cross(z, x), z])
    return out
