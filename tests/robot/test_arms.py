"""Every arm that ships: its model loads, its chain is the vendor's, and the controller can work with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from floop_robot.robot.controller import ArmController
from floop_robot.robot.kinematics import Kinematics, tool_down, yaw_of
from floop_robot.robot.limiter import SafetyLimiter
from floop_robot.spec.robot_model import RobotModel, load_robot
from floop_robot.spec.tasks import get_task

ARMS = ("panda", "ur5e", "ur10e", "xarm6", "xarm7")
QUARTER = math.pi / 2
BEND = math.atan(284.5 / 53.5)

# Standard Denavit-Hartenberg rows (offset of theta, d, a, alpha) of the vendors' tables, and the tool's length: written
# down apart from the URDF files, which are built another way.
TABLES: dict[str, tuple[float, tuple[tuple[float, float, float, float], ...]]] = {
    "ur5e": (0.174, (
        (0, 0.1625, 0, QUARTER), (0, 0, -0.425, 0), (0, 0, -0.3922, 0),
        (0, 0.1333, 0, QUARTER), (0, 0.0997, 0, -QUARTER), (0, 0.0996, 0, 0),
    )),
    "ur10e": (0.174, (
        (0, 0.1807, 0, QUARTER), (0, 0, -0.6127, 0), (0, 0, -0.57155, 0),
        (0, 0.17415, 0, QUARTER), (0, 0.11985, 0, -QUARTER), (0, 0.11655, 0, 0),
    )),
    "xarm6": (0.172, (
        (0, 0.267, 0, -QUARTER), (-BEND, 0, math.hypot(0.2845, 0.0535), 0), (BEND, 0, 0.0775, -QUARTER),
        (0, 0.3425, 0, QUARTER), (0, 0, 0.076, -QUARTER), (0, 0.097, 0, 0),
    )),
    "xarm7": (0.172, (
        (0, 0.267, 0, -QUARTER), (0, 0, 0, QUARTER), (0, 0.293, 0.0525, QUARTER), (0, 0, 0.0775, QUARTER),
        (0, 0.3425, 0, QUARTER), (0, 0, 0.076, -QUARTER), (0, 0.097, 0, 0),
    )),
}  # fmt: skip


@pytest.fixture(params=ARMS)
def arm(request: pytest.FixtureRequest) -> RobotModel:
    return load_robot(request.param)


def denavit_hartenberg(theta: float, d: float, a: float, alpha: float) -> NDArray[np.float64]:
    ct, st, ca, sa = math.cos(theta), math.sin(theta), math.cos(alpha), math.sin(alpha)
    return np.array([[ct, -st * ca, st * sa, a * ct], [st, ct * ca, -ct * sa, a * st], [0, sa, ca, d], [0, 0, 0, 1]])


def seeds(arm: RobotModel, count: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return rng.uniform(arm.limits.position_lower_rad, arm.limits.position_upper_rad, (count, len(arm.joint_names)))


@pytest.mark.parametrize("name", TABLES)
def test_the_chain_is_that_of_the_vendors_table(name: str) -> None:
    arm = load_robot(name)
    tool, rows = TABLES[name]
    # A UR controller's base frame is half a turn from the base_link of ROS.
    base = np.diag([-1.0, -1.0, 1.0, 1.0]) if name.startswith("ur") else np.eye(4)
    kinematics = Kinematics(arm)
    for q in seeds(arm, 50):
        pose = base
        for angle, (offset, d, a, alpha) in zip(q, rows, strict=True):
            pose = pose @ denavit_hartenberg(angle + offset, d, a, alpha)
        pose = pose @ denavit_hartenberg(0.0, tool, 0.0, 0.0)
        assert kinematics.pose(q.tolist()) == pytest.approx(pose, abs=1e-9)


def test_every_list_has_one_number_per_joint_and_says_its_source(arm: RobotModel) -> None:
    limits = arm.limits
    lists = (limits.position_lower_rad, limits.position_upper_rad, limits.velocity_rad_s, limits.acceleration_rad_s2)
    assert {len(values) for values in (*lists, arm.home_rad)} == {len(arm.joint_names)}
    assert min(limits.velocity_rad_s) > 0.5
    assert min(limits.acceleration_rad_s2) > 0.5
    assert 0.07 < arm.gripper.max_width_m < 0.1
    assert len(arm.source) > 40


def test_home_points_the_tool_down_above_the_table_in_front_of_the_base(arm: RobotModel) -> None:
    pose = Kinematics(arm).pose(arm.home_rad)
    assert pose[:3, 3] == pytest.approx([0.45, 0.0, 0.28], abs=1e-4)
    assert pose[:3, 2] == pytest.approx([0.0, 0.0, -1.0], abs=1e-5)
    assert yaw_of(pose) == pytest.approx(0.0, abs=1e-4)


def test_home_is_well_inside_the_limits(arm: RobotModel) -> None:
    limits = arm.limits
    for q, low, high in zip(arm.home_rad, limits.position_lower_rad, limits.position_upper_rad, strict=True):
        assert low + 0.3 < q < high - 0.3
    place = Kinematics(arm).position(arm.home_rad)
    for p, low, high in zip(place, limits.workspace_low_m, limits.workspace_high_m, strict=True):
        assert low + 0.1 < p < high - 0.1


def test_the_inverse_finds_back_to_poses_near_home(arm: RobotModel) -> None:
    kinematics = Kinematics(arm)
    rng = np.random.default_rng(1)
    for _ in range(100):
        q = np.array(arm.home_rad) + rng.uniform(-0.25, 0.25, len(arm.home_rad))
        wanted = kinematics.pose(q)
        found = kinematics.solve(wanted, arm.home_rad, iterations=30)
        assert found.ok
        assert kinematics.pose(found.q) == pytest.approx(wanted, abs=0.012)


def test_steps_of_4_cm_reach_the_whole_work_area(arm: RobotModel) -> None:
    """The area the tasks lay work out in, tool down, from table to lifting height, any yaw a grasp needs."""
    kinematics = Kinematics(arm)
    home = np.array(kinematics.position(arm.home_rad))
    for x in (0.40, 0.50, 0.60):
        for y in (-0.2, 0.0, 0.2):
            for z in (0.02, 0.25):
                for yaw in (-QUARTER, QUARTER):
                    q: tuple[float, ...] = arm.home_rad
                    way = np.array([x, y, z]) - home
                    steps = math.ceil(max(float(np.linalg.norm(way)) / 0.04, abs(yaw) / 0.16))
                    for i in range(1, steps + 1):
                        found = kinematics.solve(tool_down(home + way * i / steps, yaw * i / steps), q)
                        assert found.ok, (x, y, z, yaw, i)
                        q = found.q


def test_controller_and_limiter_pick_within_every_limit(arm: RobotModel) -> None:
    """Down, close, up and aside at full stick, through the classes that run on the robot."""
    spec = get_task("floop/Pick-v0").spec
    rate_hz, per_target = 50.0, 4
    controller, limiter, kinematics = ArmController(arm, spec), SafetyLimiter(arm, rate_hz, per_target), Kinematics(arm)
    controller.reset(arm.home_rad)
    limiter.reset(arm.home_rad)
    last, speed = np.array(arm.home_rad), np.zeros(len(arm.home_rad))
    lowest = math.inf
    for action in [(0.3, 0.2, -1, 0.5, 1)] * 12 + [(0, 0, 0, 0, -1)] * 4 + [(-0.2, -0.5, 1, -0.5, -1)] * 12:
        target = controller.command(np.array(action, np.float32), last.tolist())
        for _ in range(per_target):
            q = np.array(limiter.step(target.q_rad).q)
            velocity = (q - last) * rate_hz
            assert (np.abs(velocity) <= np.array(arm.limits.velocity_rad_s) + 1e-9).all()
            assert (np.abs(velocity - speed) * rate_hz <= np.array(arm.limits.acceleration_rad_s2) + 1e-6).all()
            last, speed = q, velocity
            lowest = min(lowest, kinematics.position(q.tolist())[2])
    assert lowest < 0.1
    assert kinematics.position(last.tolist())[2] > lowest + 0.1
