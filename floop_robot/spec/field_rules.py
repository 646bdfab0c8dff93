"""Rules that hold for the fields of any description: plausible quantities, names, topics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from floop_robot.spec.faults import Fields
from floop_robot.spec.quantities import quantity_of

_TOPIC: Final = re.compile(r"(/|~/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
LONGEST_TOPIC: Final = 200
"""DDS takes 255 characters with the namespace and its own prefix."""


def check_plausible(fields: Fields) -> None:
    """Every number whose name ends with a unit lies in the range of `quantities.QUANTITIES`."""
    for path in fields.paths():
        quantity, value = quantity_of(path), fields.get(path)
        if quantity is None or isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            if problem := quantity.problem(value):
                fields.wrong(path, problem)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for i, one in enumerate(value):
                if isinstance(one, int | float) and (problem := quantity.problem(one)):
                    fields.wrong(f"{path}[{i}]", problem)


def check_names(fields: Fields, path: str, *, of: str = "joint") -> None:
    """A list of names: at least one, none empty, none twice."""
    names = fields.get(path)
    if names is None:
        return
    if not names:
        fields.wrong(path, f"is an empty list; name at least one {of}")
    for i, name in enumerate(names):
        if not is_name(name):
            fields.wrong(f"{path}[{i}]", f"{name!r} is no name; write the {of}'s name, without spaces")
        elif name in names[:i]:
            fields.wrong(f"{path}[{i}]", f"{name} is there twice (first at [{names.index(name)}]); name each {of} once")


def is_name(text: str) -> bool:
    """Whether a text can be a name in a URDF or a message: not empty, and without white space."""
    return bool(text) and not re.search(r"\s", text)


def check_topics(fields: Fields) -> None:
    """Every field whose name ends with `topic` or `action` is a ROS name; one that may be left out may be empty."""
    for path in fields.paths():
        topic = fields.get(path)
        if path.endswith(("topic", "action")) and isinstance(topic, str) and topic:
            check_topic(fields, path, topic)


def check_topic(fields: Fields, path: str, topic: str) -> None:
    """A ROS topic name."""
    if not _TOPIC.fullmatch(topic):
        fields.wrong(
            path,
            f"{topic!r} is no ROS topic name; use letters, digits, _ and /, each part beginning with a letter, as "
            "in joint_trajectory_controller/joint_trajectory",
        )
    elif len(topic) > LONGEST_TOPIC:
        fields.wrong(path, f"has {len(topic)} characters; a ROS topic name may have {LONGEST_TOPIC}")
