"""A robot's URDF in the simulator: every shipped arm loads, and what a file lacks is made up and reported."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pybullet
import pytest

from floop_envs.bullet import silent
from floop_envs.simulated_urdf import SimulatedUrdf
from floop_robot.spec.robot_model import Gripper, RobotModel, load_robot

FLAGS = pybullet.URDF_USE_INERTIA_FROM_FILE
GAZEBO_CELL = """<robot name="cell">
  <link name="floor"/>
  <link name="base"/>
  <link name="upper">
    <inertial><mass value="3"/><inertia ixx="0.1" iyy="0.1" izz="0.1" ixy="0" ixz="0" iyz="0"/></inertial>
    <visual><geometry><mesh filename="package://my_arm/upper.dae"/></geometry></visual>
    <collision><geometry><mesh filename="package://my_arm/upper.stl"/></geometry></collision></link>
  <link name="lower"/>
  <link name="tool"/>
  <link name="finger_l"/>
  <link name="finger_r"/>
  <link name="mast"/>
  <joint name="mount" type="fixed"><parent link="floor"/><child link="base"/><origin xyz="0 0 0.8"/></joint>
  <joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/><origin xyz="0 0 0.3"/>
    <axis xyz="0 1 0"/><limit lower="-2" upper="2" effort="50" velocity="2"/></joint>
  <joint name="elbow" type="revolute"><parent link="upper"/><child link="lower"/><origin xyz="0.3 0 0"/>
    <axis xyz="0 1 0"/><limit lower="-2" upper="2" effort="50" velocity="2"/></joint>
  <joint name="tool_mount" type="fixed"><parent link="lower"/><child link="tool"/>
    <origin xyz="0.3 0 0" rpy="0 1.5708 0"/></joint>
  <joint name="left" type="prismatic"><parent link="lower"/><child link="finger_l"/><origin xyz="0.25 0 0"/>
    <axis xyz="0 1 0"/><limit lower="0" upper="0.04" effort="20" velocity="0.2"/></joint>
  <joint name="right" type="prismatic"><parent link="lower"/><child link="finger_r"/><origin xyz="0.25 0 0"/>
    <axis xyz="0 -1 0"/><limit lower="0" upper="0.04" effort="20" velocity="0.2"/></joint>
</robot>
"""


@pytest.fixture
def client():
    client = pybullet.connect(pybullet.DIRECT)
    yield client
    pybullet.disconnect(client)


def loaded(model: RobotModel, client: int) -> dict[str, int]:
    """Links of the simulated arm, by name; the base is -1."""
    with SimulatedUrdf(model).file() as path, silent(1, 2):
        body = pybullet.loadURDF(path, useFixedBase=True, flags=FLAGS, physicsClientId=client)
    assert body == 0
    infos = [pybullet.getJointInfo(body, i, physicsClientId=client) for i in range(pybullet.getNumJoints(body, client))]
    return {pybullet.getBodyInfo(body, client)[0].decode(): -1} | {info[12].decode(): info[0] for info in infos}


@pytest.mark.parametrize("arm", ["panda", "ur5e", "ur10e", "xarm6", "xarm7"])
def test_every_shipped_arm_loads_and_stands(arm: str, client: int) -> None:
    model = load_robot(arm)
    links = loaded(model, client)
    assert model.tip_link in links
    joints = [pybullet.getJointInfo(0, i, client)[1].decode() for i in range(pybullet.getNumJoints(0, client))]
    for name, q in zip(model.joint_names, model.home_rad, strict=True):
        pybullet.resetJointState(0, joints.index(name), q, physicsClientId=client)
        pybullet.setJointMotorControl2(
            0, joints.index(name), pybullet.POSITION_CONTROL, q, force=300, physicsClientId=client
        )
    pybullet.setGravity(0, 0, -9.81, client)
    for _ in range(60):
        pybullet.stepSimulation(client)
    for name, q in zip(model.joint_names, model.home_rad, strict=True):
        assert pybullet.getJointState(0, joints.index(name), client)[0] == pytest.approx(q, abs=0.05)


def test_the_panda_is_loaded_as_it_is() -> None:
    model = load_robot("panda")
    urdf = SimulatedUrdf(model)
    assert not urdf.notes
    with urdf.file() as path:
        assert path == str(model.urdf_path)


@pytest.fixture
def cell(tmp_path: Path) -> RobotModel:
    (tmp_path / "cell.urdf").write_text(GAZEBO_CELL)
    return msgspec.structs.replace(
        load_robot("panda"),
        name="cell",
        urdf=str(tmp_path / "cell.urdf"),
        base_link="base",
        tip_link="tool",
        joint_names=("shoulder", "elbow"),
        home_rad=(0.0, 0.0),
        gripper=Gripper(joint_names=("left", "right"), max_width_m=0.08, max_force_n=20.0, speed_m_s=0.1),
    )


def test_what_a_urdf_lacks_is_made_up_and_reported(cell: RobotModel, client: int) -> None:
    links = loaded(cell, client)
    assert "mast" not in links and "floor" not in links, "what does not hang below base_link"
    assert set(SimulatedUrdf(cell).notes) == {
        "mesh package://my_arm/upper.dae of upper was not found and is left out",
        "mesh package://my_arm/upper.stl of upper was not found and is left out",
        "a simple collision shape was made for upper, finger_l, finger_r",
        "the URDF gives no mass of lower (1 kg), finger_l (0.1 kg), finger_r (0.1 kg); these were assumed",
    }
    for name, kg in {"upper": 3.0, "lower": 1.0, "finger_l": 0.1}.items():
        assert pybullet.getDynamicsInfo(0, links[name], client)[0] == pytest.approx(kg)
    low, high = pybullet.getAABB(0, links["upper"], client)
    assert high[0] - low[0] == pytest.approx(0.3, abs=0.01), "as long as the link"


def test_pads_meet_at_the_tcp(cell: RobotModel, client: int) -> None:
    links = loaded(cell, client)
    tip = pybullet.getLinkState(0, links["tool"], physicsClientId=client)[4]
    for name, side in (("finger_l", 1), ("finger_r", -1)):
        low, high = pybullet.getAABB(0, links[name], client)
        inner = low[1] if side > 0 else high[1]
        assert inner == pytest.approx(tip[1], abs=2e-3)
        assert low[0] < tip[0] < high[0] and low[2] < tip[2] < high[2]


def test_meshes_of_packages_are_found(cell: RobotModel, tmp_path: Path) -> None:
    (tmp_path / "my_arm").mkdir()
    for name in ("upper.stl", "upper.dae"):
        (tmp_path / "my_arm" / name).touch()
    urdf = SimulatedUrdf(cell)
    assert not any("not found" in note for note in urdf.notes)
    with urdf.file() as path:
        assert str(tmp_path / "my_arm" / "upper.stl") in Path(path).read_text()
