"""The rules of a robot description: what its fields must be beside each other, and beside the URDF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from floop_robot.spec.chain import chain_of, joints_between
from floop_robot.spec.errors import ConfigError, did_you_mean
from floop_robot.spec.faults import Fields
from floop_robot.spec.field_rules import check_names, check_plausible, is_name
from floop_robot.spec.quantities import QUANTITIES
from floop_robot.spec.urdf import Urdf, UrdfJoint, find_package_file, read_urdf

PER_JOINT: Final = (
    "home_rad",
    "limits.position_lower_rad",
    "limits.position_upper_rad",
    "limits.velocity_rad_s",
    "limits.acceleration_rad_s2",
    "limits.effort_nm",
)
"""Lists with one number for each joint."""
MAY_BE_EMPTY: Final = "limits.effort_nm"
SLACK: Final = 1e-3
"""How far a limit may lie beyond the URDF's (rad, or a share of a rate): both are rounded, as 6.2832 is of two pi."""
AXES: Final = "xyz"
MOST_TILT_DEG: Final = 10.0
"""How far from straight down the tool may point at home: the controller turns it straight down at its first step."""


def check_robot(fields: Fields, folder: Path) -> None:
    """Add to `fields` whatever is wrong with a robot description; `folder` holds its URDF."""
    for path in ("name", "base_link", "tip_link"):
        if (text := fields.get(path)) is not None and not is_name(text):
            fields.wrong(path, f"{text!r} is no name; write one without spaces")
    check_plausible(fields)
    check_names(fields, "joint_names")
    check_names(fields, "gripper.joint_names")
    urdf = _urdf(fields, folder)
    joints = _joints(fields, urdf) if urdf else None
    moving = [joint for joint in joints if joint.moves] if joints else None
    _joint_names(fields, moving)
    _counts(fields, len(moving) if moving else len(fields.get("joint_names") or ()))
    _ranges(fields)
    _home(fields)
    if moving and joints:
        if not fields.get("beyond_urdf"):
            _within_urdf(fields, moving)
        _tool_at_home(fields, joints)
    _gripper(fields, urdf, moving)


def full_name(fields: Fields, name: str, known: Sequence[str]) -> str:
    """`name` with the description's prefix. A link or gripper that the URDF has without the prefix keeps its name."""
    prefixed = f"{fields.get('joint_prefix') or ''}{name}"
    return name if name in known and prefixed not in known else prefixed


def find_urdf(name: str, folder: Path) -> Path | None:
    """The URDF that a description in `folder` names: a path, or `package://`."""
    return find_package_file(name, folder)


def _urdf(fields: Fields, folder: Path) -> Urdf | None:
    name = fields.get("urdf")
    if name is None:
        return None
    path = find_urdf(name, folder) if name else None
    if path is None and "://" in name:
        places = "above the description, AMENT_PREFIX_PATH and ROS_PACKAGE_PATH"
        fields.wrong("urdf", f"{name!r} is not in the folders {places}; source its workspace, or write a path")
        return None
    if path is None:
        there = sorted(file.name for file in folder.glob("*.urdf")) if folder.is_dir() else []
        fields.wrong("urdf", f"{name!r} is no file in {folder}; {did_you_mean(name, there)}")
        return None
    try:
        return read_urdf(path)
    except ConfigError as error:
        fields.wrong("urdf", str(error))
        return None


def _joints(fields: Fields, urdf: Urdf) -> list[UrdfJoint] | None:
    """The joints from base to tip; None where a field says that there is no such chain."""
    links: list[str] = []
    for path in ("base_link", "tip_link"):
        name = fields.get(path)
        if name is None:
            continue
        link = full_name(fields, name, urdf.links)
        if link in urdf.links:
            links.append(link)
        else:
            fields.wrong(path, f"{link!r} is no link of {urdf.path}; {did_you_mean(link, urdf.links)}")
    if len(links) < 2:
        return None
    if urdf.between(*links) is None:
        where = f"below base_link {links[0]} in {urdf.path}"
        fields.wrong("tip_link", f"{links[1]} does not hang {where}; name the TCP's link")
        return None
    try:
        joints = joints_between(urdf, *links)
    except ConfigError as error:
        fields.wrong("joint_names", str(error))
        return None
    if not any(joint.moves for joint in joints):
        where = f"between {links[0]} and {links[1]}"
        fields.wrong("tip_link", f"no joint of {urdf.path} moves {where}; name the TCP's link")
        return None
    for joint in joints:
        if problem := next((p for x in joint.xyz_m if (p := QUANTITIES["m"].problem(x))), ""):
            fields.wrong("urdf", f"{urdf.path}: joint {joint.name}: origin xyz {problem}")
    return joints


def _joint_names(fields: Fields, moving: list[UrdfJoint] | None) -> None:
    names = fields.get("joint_names")
    if names is None or moving is None:
        return
    prefix, chain = fields.get("joint_prefix") or "", [joint.name for joint in moving]
    for i, name in enumerate(prefix + name for name in names):
        if i >= len(chain):
            fields.wrong(f"joint_names[{i}]", f"{name} is one too many; the chain has {_listed(chain)}")
        elif name != chain[i]:
            fields.wrong(f"joint_names[{i}]", f"{name} is not the joint there; the chain has {_listed(chain)}")
    if len(names) < len(chain):
        fields.wrong("joint_names", f"has {len(names)} names, but the chain has {_listed(chain)}")


def _listed(chain: list[str]) -> str:
    return f"{len(chain)} joints from base_link to tip_link: {', '.join(chain)}; name them in this order"


def _counts(fields: Fields, joints: int) -> None:
    """`joints`: how many the arm has; 0 where that is not known."""
    for path in PER_JOINT:
        values = fields.get(path)
        if values is None or not joints or (path == MAY_BE_EMPTY and not values):
            continue
        if len(values) != joints:
            cure = "write one for each, in the chain's order"
            fields.wrong(path, f"has {len(values)} numbers for {joints} joints; {cure}")


def _ranges(fields: Fields) -> None:
    pairs = (
        ("limits.position_lower_rad", "limits.position_upper_rad"),
        ("limits.workspace_low_m", "limits.workspace_high_m"),
    )
    for low_path, high_path in pairs:
        lows, highs = fields.get(low_path), fields.get(high_path)
        for i, (low, high) in enumerate(zip(lows or (), highs or (), strict=False)):
            if low >= high:
                other = high_path.rpartition(".")[2]
                problem = f"{low:g} is not below {other}[{i}], {high:g}; write the lower end here"
                fields.wrong(f"{low_path}[{i}]", problem)


def _home(fields: Fields) -> None:
    lows, highs = fields.get("limits.position_lower_rad"), fields.get("limits.position_upper_rad")
    home = fields.get("home_rad")
    if lows is None or highs is None or home is None:
        return
    for i, (q, low, high) in enumerate(zip(home, lows, highs, strict=False)):
        if not low <= q <= high:
            fields.wrong(
                f"home_rad[{i}]",
                f"{q:g} is outside position_lower_rad[{i}] to position_upper_rad[{i}], {low:g} to {high:g} rad; "
                "write a pose inside the limits",
            )


def _within_urdf(fields: Fields, moving: list[UrdfJoint]) -> None:
    """No limit is wider than the URDF's, where it states one."""
    for path, sign, stated in (
        ("limits.position_lower_rad", -1, [joint.lower for joint in moving]),
        ("limits.position_upper_rad", 1, [joint.upper for joint in moving]),
        ("limits.velocity_rad_s", 1, [joint.velocity for joint in moving]),
        ("limits.effort_nm", 1, [joint.effort for joint in moving]),
    ):
        for i, (value, limit) in enumerate(zip(fields.get(path) or (), stated, strict=False)):
            if limit is not None and sign * (value - limit) > SLACK * max(1.0, abs(limit)):
                fields.wrong(
                    f"{path}[{i}]",
                    f"{value:g} is beyond the URDF's limit of joint {moving[i].name}, {limit:g}; stay within it, or "
                    "say why not: `beyond_urdf: REASON`",
                )


def _tool_at_home(fields: Fields, joints: list[UrdfJoint]) -> None:
    home, chain = fields.get("home_rad"), chain_of(joints)
    low, high = fields.get("limits.workspace_low_m"), fields.get("limits.workspace_high_m")
    if home is None or low is None or high is None or len(home) != chain.size:
        return
    pose = chain.pose(home)
    place = pose[:3, 3]
    for axis, x, least, most in zip(AXES, place, low, high, strict=True):
        if not least <= x <= most:
            fields.wrong(
                "home_rad",
                f"puts the TCP at {axis} = {x:.3f} m, outside limits.workspace_low_m to limits.workspace_high_m, "
                f"{least:g} to {most:g} m there; mend home_rad, the workspace, or base_link and tip_link",
            )
    tilt = math.degrees(math.acos(min(max(-float(pose[2, 2]), -1.0), 1.0)))
    if tilt > MOST_TILT_DEG:
        fields.wrong(
            "home_rad",
            f"points the tool (z of tip_link) {tilt:.0f}° away from straight down, at most {MOST_TILT_DEG:g}° is "
            "right; mend home_rad, or name a tip_link with z out of the tool and y along the opening of the fingers",
        )


def _gripper(fields: Fields, urdf: Urdf | None, moving: list[UrdfJoint] | None) -> None:
    """The gripper's joints are the gripper's own, where the URDF has them, and open as far as stated."""
    names, arm = fields.get("gripper.joint_names"), set(fields.get("joint_names") or ())
    if names is None:
        return
    for i, name in enumerate(names):
        if name in arm:
            fields.wrong(f"gripper.joint_names[{i}]", f"{name} is a joint of the arm; name the gripper's")
    if urdf is None or not moving:
        return
    hand = {joint.name: joint for joint in urdf.below(moving[-1].child) if joint.moves}
    arm_tree = {joint.name for joint in urdf.below(moving[0].parent)}
    found = []
    for i, name in enumerate(full_name(fields, name, tuple(urdf.joints)) for name in names):
        path = f"gripper.joint_names[{i}]"
        if name in hand:
            found.append(hand[name])
        elif name in urdf.joints and (name in arm_tree or not urdf.joints[name].moves):
            fields.wrong(path, f"{name} does not move on the arm's last link in {urdf.path}; {_of(hand)}")
        elif hand and name not in urdf.joints:
            fields.wrong(path, f"{name} is no joint of {urdf.path}; {_of(hand)}")
    _opening(fields, found, len(names))


def _of(hand: dict[str, UrdfJoint]) -> str:
    return f"name the gripper's: {', '.join(hand)}" if hand else "name the gripper's, or leave them out of the URDF"


def _opening(fields: Fields, fingers: list[UrdfJoint], named: int) -> None:
    """Fingers that slide open as far as their ranges add up to."""
    strokes = [joint.stroke for joint in fingers if joint.kind == "prismatic" and joint.stroke]
    width = fields.get("gripper.max_width_m")
    if width is None or len(strokes) < named or fields.get("beyond_urdf"):
        return
    opening = sum(strokes) * (2 if named == 1 else 1)
    if width > opening + SLACK:
        fields.wrong(
            "gripper.max_width_m",
            f"{width:g} is wider than the fingers of the URDF open, {opening:g} m; stay within it, or say why not: "
            "`beyond_urdf: REASON`",
        )
