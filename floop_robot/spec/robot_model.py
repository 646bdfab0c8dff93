"""RobotModel: an arm as data (joint names, limits, tool, workspace), read from `config/robots/NAME.yaml`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.resources import share_dir
from floop_robot.spec.yaml_file import read_yaml


class JointLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the safety limiter enforces, one number per joint; `limits_id` hashes this."""

    position_lower_rad: tuple[float, ...]
    position_upper_rad: tuple[float, ...]
    velocity_rad_s: tuple[float, ...]
    acceleration_rad_s2: tuple[float, ...]
    workspace_low_m: tuple[float, float, float]
    """Lower corner of the box the TCP must stay in, base frame."""
    workspace_high_m: tuple[float, float, float]
    """Upper corner of the box the TCP must stay in, base frame."""


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
    """URDF file; in a YAML file a path relative to it."""
    base_link: str
    tip_link: str
    """The tool center point (TCP): between the finger tips."""
    joint_names: tuple[str, ...]
    home_rad: tuple[float, ...]
    limits: JointLimits
    gripper: Gripper
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
    """Read a robot model, by name or by the path of a YAML file; raises `UnknownName` or `ConfigError`."""
    own = name.endswith((".yaml", ".yml"))
    path = Path(name) if own else robots_dir() / f"{name}.yaml"
    shipped = sorted(p.stem for p in robots_dir().glob("*.yaml"))
    if not own and name not in shipped:
        raise UnknownName("robot", name, shipped)
    if not path.is_file():
        raise ConfigError(f"robot model {path} is no file; give the path of yours, or one of {', '.join(shipped)}")
    model = read_yaml(path, RobotModel)
    if not own:
        return model
    urdf = path.resolve().parent / model.urdf
    if not urdf.is_file():
        raise ConfigError(f"{path} names {model.urdf} as its URDF, and {urdf} is not there")
    return msgspec.structs.replace(model, urdf=str(urdf))
