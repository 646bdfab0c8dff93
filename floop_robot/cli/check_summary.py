"""What a right description means, in a few lines: for a person to compare with the arm that stands there."""

from __future__ import annotations

import importlib.util
import math
from typing import Final

from floop_robot.spec.chain import Matrix, load_chain
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.driver_config import DriverConfig
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.robot_model import RobotModel, load_robot
from floop_robot.spec.urdf import read_urdf

_SIDES: Final = {"forward": 0.0, "left": 90.0, "back": 180.0, "right": -90.0}
"""Directions seen from the base, and their angles from its x."""


def of_robot(model: RobotModel) -> list[str]:
    """Joints, home and what is assumed."""
    pose = load_chain(model).pose(model.home_rad)
    x, y, z = pose[:3, 3]
    low, high = model.limits.workspace_low_m, model.limits.workspace_high_m
    box = ", ".join(f"{axis} {a:g} to {b:g}" for axis, a, b in zip("xyz", low, high, strict=True))
    lines = [
        f"{model.name} is right: {len(model.joint_names)} joints from {model.base_link} to {model.tip_link}",
        f"home: TCP at x {x:.3f}, y {y:.3f}, z {z:.3f} m; workspace: {box} m",
        _tool(pose),
        f"fastest joint: {math.degrees(max(model.limits.velocity_rad_s)):.0f} degrees per second, "
        f"{math.degrees(max(model.limits.acceleration_rad_s2)):.0f} degrees per s²",
    ]
    if model.beyond_urdf:
        lines.append(f"note: limits may be wider than the URDF's: {model.beyond_urdf}")
    joints = read_urdf(model.urdf_path).joints
    for what, unstated in (
        ("range", [n for n in model.joint_names if joints[n].lower is None and joints[n].kind != "continuous"]),
        ("velocity", [n for n in model.joint_names if joints[n].velocity is None]),
        ("effort", [n for n in model.joint_names if joints[n].effort is None]),
    ):
        if unstated:
            lines.append(f"note: the URDF states no {what} of {', '.join(unstated)}, so nothing was compared there")
    return [*lines, *_of_simulator(model)]


def _tool(pose: Matrix) -> str:
    """Where the axes of the TCP point at home: to be compared with the gripper that is mounted."""
    tilt = round(math.degrees(math.acos(min(max(-float(pose[2, 2]), -1.0), 1.0))))
    down = f"{tilt}° from straight down" if tilt else "straight down"
    x, y = (_way(float(pose[0, i]), float(pose[1, i])) for i in (0, 1))
    return f"tool at home: {down}; its x points {x}; the fingers open along its y, which points {y}"


def _way(x: float, y: float) -> str:
    """The side of the base that a level direction points to, and how far it is off that."""
    turn = math.degrees(math.atan2(y, x))
    side, at = min(_SIDES.items(), key=lambda item: abs(math.remainder(turn - item[1], 360.0)))
    off = round(abs(math.remainder(turn - at, 360.0)))
    return f"{side}, {off}° off" if off else side


def _of_simulator(model: RobotModel) -> list[str]:
    """What the simulator has to make up for this arm; nothing where none is installed."""
    if not _has_simulator():
        return []
    from floop_envs.simulated_urdf import SimulatedUrdf

    made_up = [f"note: in the simulator, {note}" for note in SimulatedUrdf(model).notes]
    return [*_simulation_fault(model), *made_up]


def _simulation_fault(model: RobotModel) -> list[str]:
    """Why only a real arm of this model starts; empty where it can be simulated, or no simulator is installed."""
    if not _has_simulator():
        return []
    from floop_envs.simulated_urdf import check_gripper

    try:
        check_gripper(model)
    except ConfigError as error:
        return [f"note: {error}"]
    return []


def _has_simulator() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("gymnasium", "floop_envs"))


def of_driver(driver: DriverConfig, model: RobotModel | None) -> list[str]:
    """Topics, and whether the arm was looked at."""
    arm = f"for {model.name}" if model else "not compared with an arm (give --robot NAME)"
    hand = driver.gripper
    gripper = ", ".join(hand.joint_names) if hand else "topics gripper_state and gripper_command"
    force = "" if driver.reports_effort else "; it tells no force, so grasps are judged without"
    name = driver.command_topic or driver.action
    return [
        f"right, {arm}: {driver.controller} on {name}, joints from {driver.joint_states_topic}",
        f"gripper: {gripper}{force}",
    ]


def of_config(config: FloopConfig) -> list[str]:
    """Task, robots, arm."""
    model = load_robot(config.robot.model)
    right = f"right: {config.robots} robots ({model.name}) at {config.task}, run_dir {config.run_dir}"
    return [right, *_simulation_fault(model)]
