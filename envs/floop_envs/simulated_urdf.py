"""SimulatedUrdf: a robot's URDF as PyBullet can use it, and what had to be made up for it.

PyBullet refuses a file with two trees, and knows no ROS package path. It gives a link without inertia a kilogram of its
own making, and lets a link without a shape pass through everything. So a copy is loaded in which all that is settled. A
URDF that needs none of it, such as the shipped Panda's, is loaded as it is.
"""

from __future__ import annotations

import logging
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from floop_robot.spec.chain import chain_of
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.urdf import Urdf, UrdfJoint, find_package_file, read_urdf, read_urdf_xml

MESHES: Final = (".obj", ".stl", ".dae")
"""What PyBullet reads."""
LINK_RADIUS_M: Final = 0.04
LINK_MASS_KG: Final = 1.0
FINGER_MASS_KG: Final = 0.1
PAD_M: Final = (0.02, 0.015, 0.04)
"""Along the TCP's axes: across the fingers, thickness, and along them."""

log = logging.getLogger(__name__)


class SimulatedUrdf:
    """The XML for the simulator, and `notes` on each thing that was made up or left out."""

    def __init__(self, model: RobotModel) -> None:
        """Raises `ConfigError` for a file that is no URDF."""
        self._path, self._model = model.urdf_path, model
        self._urdf = read_urdf(self._path)
        self._root = read_urdf_xml(self._path)
        self._links = {link.attrib["name"]: link for link in self._root.findall("link")}
        self._fingers = [self._urdf.joints[n] for n in model.gripper.joint_names if n in self._urdf.joints]
        self.notes: list[str] = []
        self._changed = self._keep_tree_of(model.base_link)
        shapes = sum(link.find("collision") is not None for link in self._links.values())
        unshaped = self._find_meshes()
        self._add_shapes(unshaped, all_links=not shapes)
        self._add_inertia()
        self._changed |= bool(self.notes)

    @contextmanager
    def file(self) -> Iterator[str]:
        """Path of the file to load, for as long as the block runs."""
        if not self._changed:
            yield str(self._path)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self._path.name
            ElementTree.ElementTree(self._root).write(path, encoding="utf-8", xml_declaration=True)
            yield str(path)

    def _keep_tree_of(self, base: str) -> bool:
        """Leave out what does not hang below `base`; returns whether anything did."""
        joints = {joint.name for joint in self._urdf.below(base)}
        links = {base, *(self._urdf.joints[name].child for name in joints)}
        others = [e for e in self._root.findall("link") if e.get("name") not in links]
        others += [e for e in self._root.findall("joint") if e.get("name") not in joints]
        for element in others:
            self._root.remove(element)
        self._links = {name: link for name, link in self._links.items() if name in links}
        return bool(others)

    def _find_meshes(self) -> list[str]:
        """Give meshes the paths of their files; returns the links that lost their only collision shape."""
        lost: dict[str, list[str]] = {}
        unshaped = []
        for name, link in self._links.items():
            shapes = [*link.findall("visual"), *link.findall("collision")]
            for shape in shapes:
                mesh = shape.find("geometry/mesh")
                if mesh is None:
                    continue
                found = find_package_file(mesh.get("filename", ""), self._path.parent)
                if found is not None and found.suffix.lower() in MESHES:
                    mesh.set("filename", str(found.absolute()))
                    self._changed = True
                    continue
                link.remove(shape)
                lost.setdefault(mesh.get("filename", ""), []).append(name)
                if shape.tag == "collision" and link.find("collision") is None:
                    unshaped.append(name)
        for file, links in lost.items():
            self.notes.append(f"mesh {file} of {', '.join(dict.fromkeys(links))} was not found and is left out")
        return unshaped

    def _add_shapes(self, unshaped: list[str], *, all_links: bool) -> None:
        """Simple shapes for the fingers and for `unshaped` links; for the whole arm, where the URDF has none at all."""
        fingers = {joint.child: joint for joint in self._fingers}
        made = []
        for name, link in self._links.items():
            if link.find("collision") is not None:
                continue
            if name in fingers:
                shape = self._pad(fingers[name])
            elif all_links or name in unshaped:
                shape = self._rod(name)
            else:
                continue
            if shape is not None:
                link.append(shape)
                made.append(name)
        if made:
            self.notes.append(f"a simple collision shape was made for {', '.join(made)}")

    def _rod(self, link: str) -> ElementTree.Element | None:
        """A cylinder from a link's frame to the next joint of the arm; None for what is beyond the last."""
        after = [j for j in self._urdf.joints.values() if j.parent == link and j not in self._fingers]
        reach = max((j.xyz_m for j in after), key=lambda xyz: float(np.linalg.norm(xyz)), default=(0.0, 0.0, 0.0))
        length = float(np.linalg.norm(reach))
        if not any(joint.moves for joint in self._beyond(link)) or length < LINK_RADIUS_M:
            return None
        middle = " ".join(f"{0.5 * x:.6g}" for x in reach)
        x, y, z = np.array(reach) / length
        turn = f"0 {np.arccos(np.clip(z, -1.0, 1.0)):.6g} {np.arctan2(y, x):.6g}"
        shape = ElementTree.Element("collision")
        ElementTree.SubElement(shape, "origin", xyz=middle, rpy=turn)
        geometry = ElementTree.SubElement(shape, "geometry")
        ElementTree.SubElement(geometry, "cylinder", radius=f"{LINK_RADIUS_M:g}", length=f"{length:.6g}")
        return shape

    def _beyond(self, link: str) -> list[UrdfJoint]:
        return [joint for joint in self._urdf.below(link) if joint not in self._fingers]

    def _pad(self, finger: UrdfJoint) -> ElementTree.Element | None:
        """The pad of a finger: a box beside the TCP when the fingers are together."""
        pose = _pose_between(self._urdf, finger, self._model)
        if pose is None:
            return None
        side = 1.0 if _opens_towards_y(self._urdf, finger, self._model) else -1.0
        center = pose @ np.array([0.0, side * 0.5 * PAD_M[1], 0.0, 1.0])
        shape = ElementTree.Element("collision")
        xyz = " ".join(f"{x:.6g}" for x in center[:3])
        ElementTree.SubElement(shape, "origin", xyz=xyz, rpy=" ".join(f"{a:.6g}" for a in _rpy_of(pose)))
        geometry = ElementTree.SubElement(shape, "geometry")
        ElementTree.SubElement(geometry, "box", size=" ".join(f"{x:g}" for x in PAD_M))
        return shape

    def _add_inertia(self) -> None:
        """A mass for each link that a joint moves and that has none, with what is fixed to it."""
        made = []
        fingers = {joint.child for joint in self._fingers}
        for joint in self._urdf.below(self._model.base_link):
            link = self._links[joint.child]
            if not joint.moves or any(_mass(self._links[name]) > 0 for name in self._fixed_to(joint.child)):
                continue
            for old in link.findall("inertial"):
                link.remove(old)
            mass = FINGER_MASS_KG if joint.child in fingers else LINK_MASS_KG
            inertial, about = ElementTree.SubElement(link, "inertial"), f"{0.4 * mass * LINK_RADIUS_M**2:.3g}"
            ElementTree.SubElement(inertial, "mass", value=f"{mass:g}")
            ElementTree.SubElement(
                inertial, "inertia", ixx=about, iyy=about, izz=about, ixy="0", ixz="0", iyz="0"
            )  # fmt: skip
            made.append(f"{joint.child} ({mass:g} kg)")
        if made:
            self.notes.append(f"the URDF gives no mass of {', '.join(made)}; these were assumed")

    def _fixed_to(self, link: str) -> list[str]:
        """A link, and all that hangs on it by fixed joints."""
        found = [link]
        for here in found:
            found += [j.child for j in self._urdf.joints.values() if j.parent == here and not j.moves]
        return found


def check_gripper(model: RobotModel) -> None:
    """Raise `ConfigError` unless the arm has two finger joints in its URDF, which the simulation needs."""
    moving = {joint.name for joint in read_urdf(model.urdf_path).below(model.base_link) if joint.moves}
    missing = [name for name in model.gripper.joint_names if name not in moving]
    if missing or len(model.gripper.joint_names) != 2:
        lacks = f"its URDF lacks {', '.join(missing)}" if missing else "it does not have two finger joints"
        raise ConfigError(f"robot {model.name} cannot be simulated: {lacks}; add the gripper or use panda")


def log_notes(model: RobotModel) -> None:
    """Write what had to be made up for the simulator to the log."""
    for note in SimulatedUrdf(model).notes:
        log.warning("%s in the simulator: %s", model.name, note)


def _mass(link: ElementTree.Element) -> float:
    mass = link.find("inertial/mass")
    try:
        return float(mass.get("value", "0")) if mass is not None else 0.0
    except ValueError:
        return 0.0


def _pose_between(urdf: Urdf, finger: UrdfJoint, model: RobotModel) -> np.ndarray | None:
    """Pose of the TCP in a finger's frame with the fingers together, (4, 4); None where they have no link in common."""
    to_finger, to_tip = urdf.between(model.base_link, finger.child), urdf.between(model.base_link, model.tip_link)
    if to_finger is None or to_tip is None:
        return None
    while to_finger and to_tip and to_finger[0] == to_tip[0]:
        to_finger, to_tip = to_finger[1:], to_tip[1:]
    if len([joint for joint in to_finger if joint.moves]) != 1 or any(joint.moves for joint in to_tip):
        return None
    chain = chain_of(to_finger)
    still = chain_of([]).tip
    for joint in to_tip:
        still = still @ chain_of([joint]).tip
    return np.linalg.inv(chain.pose([0.0])) @ still


def _opens_towards_y(urdf: Urdf, finger: UrdfJoint, model: RobotModel) -> bool:
    pose = _pose_between(urdf, finger, model)
    assert pose is not None
    axis = np.array(finger.axis) / np.linalg.norm(finger.axis)
    return bool((pose[:3, :3].T @ axis)[1] * ((finger.upper or 1.0) + (finger.lower or 0.0)) > 0)


def _rpy_of(pose: np.ndarray) -> tuple[float, float, float]:
    pitch = float(np.arctan2(-pose[2, 0], np.hypot(pose[0, 0], pose[1, 0])))
    return float(np.arctan2(pose[2, 1], pose[2, 2])), pitch, float(np.arctan2(pose[1, 0], pose[0, 0]))
