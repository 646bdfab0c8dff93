"""RobotModel: an arm as data (joint names, limits, tool, workspace), read from `config/robots/NAME.yaml`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from floop_robot.spec.faults import Fields
from floop_robot.spec.resources import share_dir
from floop_robot.spec.robot_rules import check_robot, find_urdf, full_name
from floop_robot.spec.urdf import read_urdf
from floop_robot.spec.yaml_file import convert, description_file, read_fields


class JointLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the safety limiter enforces, one number per joint; `limits_id` hashes this."""

    position_lower_rad: tuple[float, ...]
    position_upper_rad: tuple[float, ...]
    velocity_rad_s: tuple[float, ...]
    acceleration_rad_s2: tuple[float, ...]
    workspace_low_m: tuple[float, float, float]
    """Lower corner of the box the TCP must stay in, base frame."""
    workspace_high_m: tuple[float, float, float]
    """Upper corner of the box the TCP must stay in, base frame."""
    effort_nm: tuple[float, ...] = ()
    """Joint efforts beyond these stop the arm, N·m; empty: efforts are not watched."""


class Gripper(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parallel gripper."""

    joint_names: tuple[str, ...]
    max_width_m: float
    max_force_n: float
    speed_m_s: float
    """How fast the width changes at most."""


class RobotModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fixed-base arm with a parallel gripper. Angles in rad, lengths in m, frames as in REP 103."""

    name: str
    urdf: str
    """URDF file, as xacro writes it: a path relative to the YAML file, or `package://NAME/PATH`."""
    base_link: str
    """Frame of all poses: x forward, z up, the table top at z = 0."""
    tip_link: str
    """The tool center point (TCP): between the finger tips."""
    joint_names: tuple[str, ...]
    """The URDF's moving joints from `base_link` to `tip_link`, in this order, each revolute or continuous."""
    joint_prefix: str = ""
    """Put before every joint and link name of this file, as the `prefix` or `tf_prefix` of vendors' xacro does, e.g.
    `left_`. Links and gripper joints that the URDF has without it keep their names."""
    home_rad: tuple[float, ...]
    """A pose inside the limits, with the TCP inside the workspace. Each episode begins there."""
    limits: JointLimits
    gripper: Gripper
    beyond_urdf: str = ""
    """Why limits may be wider than the URDF's `<limit>`; empty: they may not."""
    source: str = ""
    """Where the limits come from (vendor document)."""

    @property
    def urdf_path(self) -> Path:
        """Absolute path of the URDF file."""
        return robots_dir() / self.urdf


def robots_dir() -> Path:
    """Folder that holds the robot models."""
    return share_dir() / "config" / "robots"


def load_robot(name: str) -> RobotModel:
    """Read a robot model, by name or by the path of a YAML file.

    Raises `UnknownName`, `ConfigError`, or `WrongFields` with one line for every wrong field. Names get their prefix.
    """
    path = robot_file(name)
    fields = read_robot(path)
    fields.check()
    model = convert(fields.raw, RobotModel, str(path))
    urdf = find_urdf(model.urdf, path.resolve().parent)
    assert urdf is not None, "the rules have found it"
    if model.joint_prefix:
        model = _with_prefix(model, fields, urdf)
    is_shipped = path.resolve().parent == robots_dir().resolve()
    return model if is_shipped else msgspec.structs.replace(model, urdf=str(urdf.absolute()))


def robot_file(name: str) -> Path:
    """The YAML file of a robot model, by name or path; raises `UnknownName` or `ConfigError` where there is none."""
    return description_file("robot", "robot model", name, robots_dir())


def read_robot(path: Path) -> Fields:
    """The fields of a robot model's file, and all that is wrong with them; raises `ConfigError` for what is no YAML."""
    fields = read_fields(path, RobotModel)
    check_robot(fields, path.resolve().parent)
    return fields


def _with_prefix(model: RobotModel, fields: Fields, path: Path) -> RobotModel:
    urdf = read_urdf(path)
    joints = tuple(urdf.joints)
    gripper = tuple(full_name(fields, name, joints) for name in model.gripper.joint_names)
    return msgspec.structs.replace(
        model,
        base_link=full_name(fields, model.base_link, urdf.links),
        tip_link=full_name(fields, model.tip_link, urdf.links),
        joint_names=tuple(model.joint_prefix + name for name in model.joint_names),
        gripper=msgspec.structs.replace(model.gripper, joint_names=gripper),
    )
