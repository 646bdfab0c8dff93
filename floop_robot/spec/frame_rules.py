"""The rules of the frames in a driver description: a tree whose root is the arm's base link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floop_robot.spec.faults import Fields
from floop_robot.spec.field_rules import check_topic, is_name
from floop_robot.spec.frame_config import MAX_FRAMES, ROBOT_PLACEHOLDER, bare_name

if TYPE_CHECKING:
    from floop_robot.spec.robot_model import RobotModel


def check_frames(fields: Fields, model: RobotModel | None) -> None:
    """Add to `fields` what is wrong with frames, their names, and `detections`.

    Without the arm `model`, parents are not looked at that may be its base link.
    """
    own = fields.get("base_link") or ""
    _table(fields, tuple(filter(None, (own, model.base_link))) if model else ())
    for path in ("assumed_frame", "base_link"):
        name = fields.get(path)
        if name == "" and path in fields.raw:
            fields.wrong(path, "is empty; name the frame, or leave it out")
        elif name and not is_name(name):
            fields.wrong(path, f"{name!r} is no name; write the frame's name, without spaces")
        elif name and path == "base_link" and name.startswith("/"):
            fields.wrong(path, f"{name!r} begins with a slash, as no name in tf2 does; leave it out")
    prefix = fields.get("frame_prefix")
    rest = (prefix or "").replace(ROBOT_PLACEHOLDER, "x")
    if rest and (not is_name(rest) or rest.startswith("/") or "{" in rest or "}" in rest):
        fields.wrong(
            "frame_prefix",
            f"{prefix!r} can't stand before a link's name in TF; write '{ROBOT_PLACEHOLDER}/', or '' for nothing",
        )
    score = fields.get("detections.min_score")
    if score is not None and not 0.0 <= score <= 1.0:
        fields.wrong("detections.min_score", f"{score:g} is no score; write a number from 0 to 1")
    if (topic := fields.get("detections.topic")) is not None:
        check_topic(fields, "detections.topic", topic)


def _table(fields: Fields, base_links: tuple[str, ...]) -> None:
    """`base_links`: names of the arm's base link; none where the arm is not known."""
    table = fields.raw.get("frames") if isinstance(fields.raw, dict) else None
    if not isinstance(table, dict):
        return
    if len(table) > MAX_FRAMES:
        fields.wrong("frames", f"has {len(table)} frames; {MAX_FRAMES} are the most")
        return
    names = [name for name in table if isinstance(name, str)]
    parents = {bare_name(name): bare_name(fields.get(f"frames.{name}.parent") or "") for name in names}
    for i, name in enumerate(names):
        if isinstance(table[name], dict) and table[name].get("parent") == "":
            fields.wrong(f"frames.{name}.parent", "is empty; name the frame, or leave it out where it is the base link")
        field, bare = f"frames.{name}", bare_name(name)
        if not is_name(bare):
            fields.wrong(field, f"{name!r} is no name; write the frame's name, without spaces")
        elif bare in map(bare_name, names[:i]):
            fields.wrong(field, f"{bare} is there twice, once with a leading slash; leave one out")
        elif bare in base_links:
            fields.wrong(field, f"{bare} is the arm's base link itself; leave it out")
        elif _leads_back(bare, parents):
            fields.wrong(f"{field}.parent", f"{parents[bare]!r} leads back to {bare}; one of them needs another parent")
        elif base_links and parents[bare] not in {"", *base_links, *parents}:
            fields.wrong(
                f"{field}.parent",
                f"{parents[bare]!r} is neither {base_links[0]} nor in frames; add it, or use TF if it moves",
            )


def _leads_back(name: str, parents: dict[str, str]) -> bool:
    """Whether the parents of `name` lead back to it."""
    parent = parents[name]
    for _ in parents:
        if parent == name:
            return True
        parent = parents.get(parent, "")
    return False
