"""What a right description means, in a few lines: for a person to compare with the arm that stands there."""

from __future__ import annotations

import importlib.util
import math

from floop_robot.spec.chain import load_chain
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.driver_config import DriverConfig
from floop_robot.spec.robot_model import RobotModel, load_robot
from floop_robot.spec.urdf import read_urdf


def of_robot(model: RobotModel) -> list[str]:
    """Joints, home and what is assumed."""
    x, y, z = load_chain(model).pose(model.home_rad)[:3, 3]
    low, high = model.limits.workspace_low_m, model.limits.workspace_high_m
    box = ", ".join(f"{axis} {a:g} to {b:g}" for axis, a, b in zip("xyz", low, high, strict=True))
    lines = [
        f"{model.name} is right: {len(model.joint_names)} joints from {model.base_link} to {model.tip_link}",
        f"home: TCP at x {x:.3f}, y {y:.3f}, z {z:.3f} m; workspace: {box} m",
        f"fastest joint: {math.degrees(max(model.limits.velocity_rad_s)):.0f} degrees per second",
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


def _of_simulator(model: RobotModel) -> list[str]:
    """What the simulator has to make up for this arm; nothing where none is installed."""
    if importlib.util.find_spec("gymnasium") is None or importlib.util.find_spec("floop_envs") is None:
        return []
    from floop_envs.simulated_urdf import SimulatedUrdf

    return [f"note: in the simulator, {note}" for note in SimulatedUrdf(model).notes]


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
    return [f"right: {config.robots} robots ({model.name}) at {config.task}, run_dir {config.run_dir}"]
