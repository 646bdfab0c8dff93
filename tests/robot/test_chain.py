"""Our Panda against the one that ships with PyBullet, and the URDF reader's refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pybullet
import pybullet_data
import pytest

from floop_robot.robot.kinematics import Kinematics
from floop_robot.spec.chain import read_chain
from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.robot_model import RobotModel

FLAGS = pybullet.URDF_USE_INERTIA_FROM_FILE


@pytest.fixture
def client():
    client = pybullet.connect(pybullet.DIRECT)
    yield client
    pybullet.disconnect(client)


def links(body: int, client: int) -> dict[str, int]:
    return {
        pybullet.getJointInfo(body, i, physicsClientId=client)[12].decode(): i
        for i in range(pybullet.getNumJoints(body, physicsClientId=client))
    }


def both(panda: RobotModel, client: int) -> tuple[int, int]:
    theirs = str(Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf")
    return (
        pybullet.loadURDF(str(panda.urdf_path), useFixedBase=True, flags=FLAGS, physicsClientId=client),
        pybullet.loadURDF(theirs, useFixedBase=True, physicsClientId=client),
    )


def test_masses_and_inertias_are_those_pybullet_uses_for_its_own_panda(panda: RobotModel, client: int) -> None:
    ours, theirs = both(panda, client)
    ours_links, theirs_links = links(ours, client), links(theirs, client)
    assert ours_links.keys() == theirs_links.keys()
    for name, index in ours_links.items():
        a = pybullet.getDynamicsInfo(ours, index, physicsClientId=client)
        b = pybullet.getDynamicsInfo(theirs, theirs_links[name], physicsClientId=client)
        assert a[0] == pytest.approx(b[0]), name
        assert a[2] == pytest.approx(b[2], rel=2e-3, abs=1e-9), name
        assert a[3] == pytest.approx(b[3]), name


def test_forward_kinematics_agrees_with_pybullet_for_both_models(panda: RobotModel, client: int) -> None:
    kinematics = Kinematics(panda)
    rng = np.random.default_rng(0)
    bodies = [(b, links(b, client)[panda.tip_link]) for b in both(panda, client)]
    low, high = panda.limits.position_lower_rad, panda.limits.position_upper_rad
    for _ in range(100):
        q = rng.uniform(low, high)
        pose = kinematics.pose(q)
        assert kinematics.position(q.tolist()) == pytest.approx(pose[:3, 3], abs=1e-12)
        for body, tip in bodies:
            for i in range(7):
                pybullet.resetJointState(body, i, q[i], physicsClientId=client)
            state = pybullet.getLinkState(body, tip, computeForwardKinematics=True, physicsClientId=client)
            turn = np.array(pybullet.getMatrixFromQuaternion(state[5])).reshape(3, 3)
            assert np.abs(pose[:3, 3] - state[4]).max() < 1e-6
            assert np.abs(pose[:3, :3] - turn).max() < 1e-6


def test_it_swings_like_pybullets_own(panda: RobotModel, client: int) -> None:
    ours, theirs = both(panda, client)
    pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
    pybullet.setTimeStep(1 / 240, physicsClientId=client)
    goal = [0.3, 0.2, -0.2, -1.8, 0.2, 1.9, 0.5]
    worst = 0.0
    for body in (ours, theirs):
        for other in range(-1, 12):  # the two stand in the same place
            for one in range(-1, 12):
                pybullet.setCollisionFilterPair(ours, theirs, one, other, 0, physicsClientId=client)
        for i in range(7):
            pybullet.resetJointState(body, i, panda.home_rad[i], physicsClientId=client)
        arm: dict[str, Any] = {"targetPositions": goal, "forces": [87.0] * 4 + [12.0] * 3, "positionGains": [0.05] * 7}
        pybullet.setJointMotorControlArray(body, range(7), pybullet.POSITION_CONTROL, physicsClientId=client, **arm)
    for _ in range(240):
        pybullet.stepSimulation(physicsClientId=client)
        states = [[s[0] for s in pybullet.getJointStates(b, range(7), physicsClientId=client)] for b in (ours, theirs)]
        worst = max(worst, float(np.abs(np.subtract(*states)).max()))
    assert worst < 5e-3
    assert states[0] == pytest.approx(goal, abs=0.05)


def test_only_hand_and_fingers_collide(panda: RobotModel, client: int) -> None:
    ours, _ = both(panda, client)
    found = links(ours, client).items()
    colliding = {n for n, i in found if pybullet.getCollisionShapeData(ours, i, physicsClientId=client)}
    assert colliding == {"panda_hand", "panda_leftfinger", "panda_rightfinger"}


def test_home_points_the_tool_down_above_the_table(panda: RobotModel) -> None:
    pose = Kinematics(panda).pose(panda.home_rad)
    assert pose[:3, 3] == pytest.approx([0.45, 0.0, 0.28], abs=1e-5)
    assert pose[:3, :3] == pytest.approx(np.diag([1.0, -1.0, -1.0]), abs=1e-5)


def test_limits_lie_inside_the_documented_ones(panda: RobotModel) -> None:
    limits = panda.limits
    documented_low = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
    documented_high = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
    assert all(a > b for a, b in zip(limits.position_lower_rad, documented_low, strict=True))
    assert all(a < b for a, b in zip(limits.position_upper_rad, documented_high, strict=True))
    assert all(a < b for a, b in zip(limits.velocity_rad_s, (2.175,) * 4 + (2.61,) * 3, strict=True))
    assert all(a < b for a, b in zip(limits.acceleration_rad_s2, (15, 7.5, 10, 12.5, 15, 20, 20), strict=True))


def test_a_wrong_tip_is_named_with_the_nearest(panda: RobotModel) -> None:
    with pytest.raises(UnknownName, match="did you mean 'panda_grasptarget'"):
        read_chain(panda.urdf_path, panda.base_link, "panda_grasp_target", panda.joint_names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<robot", "not valid XML"),
        (
            "<robot><link name='a'/><link name='b'/>"
            "<joint name='j' type='prismatic'><parent link='a'/><child link='b'/></joint></robot>",
            "only revolute",
        ),
        (
            "<robot><link name='a'/><link name='b'/>"
            "<joint name='j' type='revolute'><parent link='a'/><child link='b'/><origin xyz='0 x 0'/></joint></robot>",
            "not three numbers",
        ),
        ("<robot><link name='a'/><link name='b'/></robot>", "does not hang below"),
        (
            "<robot><link name='a'/><link name='b'/>"
            "<joint name='elbow' type='revolute'><parent link='a'/><child link='b'/></joint></robot>",
            r"moving joints from a to b are \('elbow',\), but joint_names is \('j',\)",
        ),
        (
            "<robot><link name='a'/><link name='b'/><joint name='j' type='revolute'><parent link='a'/></joint></robot>",
            "joint j has no child link",
        ),
    ],
)
def test_a_bad_urdf_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "arm.urdf"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_chain(path, "a", "b", ("j",))
    assert "\n" not in str(caught.value)


def test_a_missing_urdf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_chain(tmp_path / "none.urdf", "a", "b", ("j",))
