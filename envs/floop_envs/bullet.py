"""A PyBullet client that keeps quiet, and the arm as a body with simple collision shapes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def silent(*descriptors: int) -> Iterator[None]:
    """Send file descriptors (1 is stdout) to /dev/null for a while: PyBullet prints from C while it loads."""
    sys.stdout.flush()
    saved = [(number, os.dup(number)) for number in descriptors]
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in descriptors:
            os.dup2(sink, number)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C still holds in its buffer belongs to the sink, too
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)
        os.close(sink)


with silent(1, 2):  # its build time goes to stderr
    import pybullet as bullet
    import pybullet_data

__all__ = ["bullet", "silent", "simple_arm_urdf", "visual_arm_urdf"]

# Boxes (centre xyz, full size xyz) that stand for the meshes, per link, in the link's frame.
_COLLISION_BOXES: dict[str, tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]] = {
    "panda_hand": (((0.0, 0.0, 0.03), (0.06, 0.2, 0.066)),),
    "panda_leftfinger": (((0.0, 0.006, 0.044), (0.02, 0.012, 0.02)), ((0.0, 0.012, 0.017), (0.02, 0.018, 0.034))),
    "panda_rightfinger": (((0.0, -0.006, 0.044), (0.02, 0.012, 0.02)), ((0.0, -0.012, 0.017), (0.02, 0.018, 0.034))),
}


def visual_arm_urdf() -> str:
    """Path of the arm with meshes, for pictures."""
    return str(Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf")


def simple_arm_urdf(folder: str) -> str:
    """Write the arm without visuals, with boxes on hand and fingers as its only collision shapes; its path.

    Everything that touches work is a box, which halves the price of a physics step; the inertias and joints are the
    ones of pybullet_data.
    """
    tree = ET.parse(visual_arm_urdf())
    for link in tree.getroot().iter("link"):
        for child in [c for c in link if c.tag in ("visual", "collision")]:
            link.remove(child)
        for centre, size in _COLLISION_BOXES.get(link.get("name", ""), ()):
            collision = ET.SubElement(link, "collision")
            ET.SubElement(collision, "origin", rpy="0 0 0", xyz=" ".join(map(str, centre)))
            geometry = ET.SubElement(collision, "geometry")
            ET.SubElement(geometry, "box", size=" ".join(map(str, size)))
    handle, path = tempfile.mkstemp(suffix=".urdf", dir=folder)
    with os.fdopen(handle, "wb") as file:
        tree.write(file)
    return path
