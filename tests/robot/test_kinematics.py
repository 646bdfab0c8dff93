from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pybullet
import pytest

from floop_robot.robot.kinematics import Kinematics, tool_down, yaw_of
from floop_robot.spec.chain import read_chain
from floop_robot.spec.robot_model import RobotModel


@pytest.fixture
def kinematics(panda: RobotModel) -> Kinematics:
    return Kinematics(panda)


def some_joints(panda: RobotModel, seed: int = 0) -> np.ndarray:
    limits = panda.limits
    return np.random.default_rng(seed).uniform(limits.position_lower_rad, limits.position_upper_rad, (60, 7))


def test_jacobian_is_the_derivative_of_the_pose(panda: RobotModel, kinematics: Kinematics) -> None:
    h = 1e-6
    for q in some_joints(panda):
        jacobian = kinematics.jacobian(q)
        for i in range(7):
            step = np.eye(7)[i] * h
            ahead, behind = kinematics.pose(q + step), kinematics.pose(q - step)
            turn = (ahead[:3, :3] - behind[:3, :3]) @ kinematics.pose(q)[:3, :3].T / (2 * h)
            numeric = [*((ahead - behind)[:3, 3] / (2 * h)), turn[2, 1], turn[0, 2], turn[1, 0]]
            assert jacobian[:, i] == pytest.approx(numeric, abs=1e-6)


def test_inverse_finds_what_forward_made_from_a_nearby_seed(panda: RobotModel, kinematics: Kinematics) -> None:
    rng = np.random.default_rng(1)
    low, high = panda.limits.position_lower_rad, panda.limits.position_upper_rad
    for q in some_joints(panda, 1):
        seed = np.clip(q + rng.normal(scale=0.05, size=7), low, high)
        tight = {"position_tolerance_m": 1e-4, "rotation_tolerance_rad": 1e-3}
        found = kinematics.solve(kinematics.pose(q), seed, **tight, iterations=60)
        assert found.ok
        assert kinematics.position(found.q) == pytest.approx(kinematics.position(q.tolist()), abs=1e-4)


def test_control_steps_are_solved_and_small_ones_exactly(panda: RobotModel, kinematics: Kinematics) -> None:
    for move, tolerance in ((0.04, 2e-3), (0.002, 5e-5)):
        for x, y, z in np.random.default_rng(2).normal(size=(50, 3)):
            length = math.sqrt(x * x + y * y + z * z) / move
            target = tool_down((0.45 + x / length, y / length, 0.28 + z / length), 0.02)
            found = kinematics.solve(target, panda.home_rad)
            assert found.ok
            assert found.position_error_m < tolerance


def test_a_chain_of_control_steps_does_not_drift_in_the_null_space(panda: RobotModel, kinematics: Kinematics) -> None:
    q = panda.home_rad
    for turn in np.linspace(0, 20 * math.tau, 1600):
        target = tool_down((0.48 + 0.1 * math.cos(turn), 0.1 * math.sin(turn), 0.2), 0.3 * math.sin(turn / 3))
        found = kinematics.solve(target, q)
        assert found.ok
        q = found.q
    assert abs(q[2]) < 0.3


@pytest.mark.parametrize("place", [(1.5, 0.0, 0.3), (0.0, 0.0, -2.0), (math.nan, 0.0, 0.3), (0.5, math.inf, 0.3)])
def test_what_cannot_be_reached_is_not_ok_and_stays_finite(
    panda: RobotModel, kinematics: Kinematics, place: tuple[float, float, float]
) -> None:
    found = kinematics.solve(tool_down(place, 0.0), panda.home_rad)
    assert not found.ok
    assert all(map(math.isfinite, found.q))


def test_a_singular_arm_is_left_without_a_jump(panda: RobotModel, kinematics: Kinematics) -> None:
    stretched = (0.0, 0.0, 0.0, panda.limits.position_upper_rad[3], 0.0, 1.6, 0.0)
    pose = kinematics.pose(stretched)
    pose[:3, 3] -= pose[:3, 3] / np.linalg.norm(pose[:3, 3]) * 0.02
    found = kinematics.solve(pose, stretched)
    assert np.abs(np.subtract(found.q, stretched)).max() < 1.5
    pose[:3, 3] *= 3
    assert not kinematics.solve(pose, stretched).ok


def test_half_a_turn_is_an_error_not_a_solution(panda: RobotModel, kinematics: Kinematics) -> None:
    upside_down = kinematics.pose(panda.home_rad)
    upside_down[:3, :3] = upside_down[:3, :3] @ np.diag([1.0, -1.0, -1.0])
    found = kinematics.solve(upside_down, panda.home_rad, iterations=1)
    assert found.rotation_error_rad > 1.0
    assert not found.ok


@pytest.mark.parametrize("yaw", [-1.5, -0.3, 0.0, 0.7, 1.6])
def test_yaw_of_inverts_tool_down(yaw: float) -> None:
    assert yaw_of(tool_down((0.4, 0.1, 0.2), yaw)) == pytest.approx(yaw)


def test_plain_python_agrees_with_the_pose(panda: RobotModel, kinematics: Kinematics) -> None:
    for q in some_joints(panda):
        pose = kinematics.pose(q)
        position, yaw = kinematics.position_and_yaw(q.tolist())
        assert position == pytest.approx(pose[:3, 3], abs=1e-12) and position == kinematics.position(q.tolist())
        assert yaw == pytest.approx(yaw_of(pose), abs=1e-9)


def test_a_solution_depends_on_its_seed_alone(panda: RobotModel, kinematics: Kinematics) -> None:
    """Frames of the last solution serve again only where the seed is that solution."""
    target, other = (kinematics.pose(np.array(panda.home_rad) + shift) for shift in (0.02, -0.03))
    first = kinematics.solve(target, panda.home_rad)
    expected = Kinematics(panda).solve(other, first.q)
    assert kinematics.solve(other, first.q) == expected, "another pose was computed meanwhile"
    kinematics.solve(target, panda.home_rad)
    assert kinematics.solve(other, first.q) == expected, "the seed is the last solution"
    assert kinematics.solve(target, panda.home_rad) == first


def test_solutions_stay_in_the_joint_range(panda: RobotModel, kinematics: Kinematics) -> None:
    for q in some_joints(panda, 3):
        found = kinematics.solve(kinematics.pose(q), panda.home_rad)
        low, high = panda.limits.position_lower_rad, panda.limits.position_upper_rad
        assert all(a - 1e-12 <= x <= b + 1e-12 for x, a, b in zip(found.q, low, high, strict=True))


ODD_ARM = """<robot name="odd"><link name="base"/><link name="a"/><link name="b"/><link name="c"/><link name="d"/>
<joint name="j1" type="revolute"><parent link="base"/><child link="a"/><origin xyz="0.1 0 0.2" rpy="0.3 -0.2 0.5"/>
<axis xyz="1 2 -0.5"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
<joint name="f" type="fixed"><parent link="a"/><child link="b"/><origin xyz="0 0.3 0.1" rpy="0.4 0.1 -0.7"/></joint>
<joint name="j2" type="continuous"><parent link="b"/><child link="c"/>
<origin xyz="0.2 0 0"/><axis xyz="0 -1 0"/></joint>
<joint name="g" type="fixed"><parent link="c"/><child link="d"/>
<origin xyz="0.1 0.2 0.3" rpy="0 1 0"/></joint></robot>"""


def test_any_axis_and_fixed_joints_between_agree_with_pybullet(panda: RobotModel, tmp_path: Path) -> None:
    path = tmp_path / "odd.urdf"
    path.write_text(ODD_ARM)
    limits = msgspec.structs.replace(panda.limits, position_lower_rad=(-3.0, -3.0), position_upper_rad=(3.0, 3.0))
    model = msgspec.structs.replace(panda, home_rad=(0.0, 0.0), limits=limits)
    kinematics = Kinematics(model, read_chain(path, "base", "d", ("j1", "j2")))
    client = pybullet.connect(pybullet.DIRECT)
    try:
        body = pybullet.loadURDF(str(path), useFixedBase=True, physicsClientId=client)
        for q in ((0.0, 0.0), (0.7, -1.2), (-2.0, 2.5)):
            for joint, angle in zip((0, 2), q, strict=True):
                pybullet.resetJointState(body, joint, angle, physicsClientId=client)
            state = pybullet.getLinkState(body, 3, computeForwardKinematics=True, physicsClientId=client)
            assert kinematics.pose(q)[:3, 3] == pytest.approx(state[4], abs=1e-6)
            assert kinematics.position(q) == pytest.approx(state[4], abs=1e-6)
    finally:
        pybullet.disconnect(client)
