"""Frames of a driver description: in which frames its poses are, and how the frames of its TF are named."""

from __future__ import annotations

from typing import Final

import msgspec

FARTHEST_M: Final = 10.0
"""Neither a frame nor an object is farther away along an axis (m). What is, was most likely given in millimetres."""
MAX_FRAMES: Final = 64
ROBOT_PLACEHOLDER: Final = "{robot}"


class FixedFrame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a frame that doesn't move stands, as in a URDF's `<origin>`."""

    parent: str = ""
    """A frame of the same table; empty: the arm's base link."""
    xyz_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Its origin in the parent."""
    rpy_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Roll, pitch and yaw about the parent's fixed axes."""


class DetectionsTopic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A perception that publishes `vision_msgs/Detection3DArray`."""

    topic: str = "detections"
    min_score: float = 0.5
    """Detections with a lower score are ignored."""


def bare_name(frame: str) -> str:
    """A frame's name without leading slashes, which tf had and tf2 refuses."""
    return frame.lstrip("/")
