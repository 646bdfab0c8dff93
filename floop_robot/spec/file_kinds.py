"""Files that people give for one another, told apart by fields that only one kind has."""

from __future__ import annotations

from typing import Any, Final

import msgspec


class _FileKind(msgspec.Struct, frozen=True):
    name: str
    marks: frozenset[str]
    """Fields that no other kind has."""


_KINDS: Final = {
    "RobotModel": _FileKind("robot model", frozenset({"urdf", "tip_link", "home_rad", "limits", "beyond_urdf"})),
    "DriverConfig": _FileKind(
        "driver description",
        frozenset({"controller", "command_topic", "joint_states_topic", "frame_prefix", "frames", "detections"}),
    ),
    "FloopConfig": _FileKind(
        "fleet's configuration",
        frozenset({"task", "robots", "run_dir", "endpoints", "robot", "learner", "gate", "deploy"}),
    ),
}
"""Name of the struct → what people call its file."""
_ROS_PARAMETERS: Final = "ros__parameters"


def other_kind(raw: Any, wanted: str) -> str:
    """What plain data is, in words, that has nothing of the struct `wanted` and something of another; else empty."""
    kind = _KINDS.get(wanted)
    if kind is None or not isinstance(raw, dict) or not kind.marks.isdisjoint(raw):
        return ""
    if any(isinstance(value, dict) and _ROS_PARAMETERS in value for value in raw.values()):
        return f"is a file of ROS parameters, not a {kind.name}; give it to launch as params_file"
    for other in _KINDS.values():
        if found := sorted(other.marks.intersection(raw)):
            return f"is a {other.name}, since it has {' and '.join(found[:2])}; here a {kind.name} is wanted"
    return ""
