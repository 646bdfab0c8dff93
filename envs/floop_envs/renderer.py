"""Renderer: images of a world without OpenGL or a screen, from a second PyBullet client with visual meshes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from floop_envs.bullet import bullet, pybullet_data, silent
from floop_envs.shapes import create_object
from floop_envs.simulated_urdf import SimulatedUrdf
from floop_robot.robot.messages import Joints, Vec3
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.scenario import OBJECT_CLASSES, ObjectSpec

Image = NDArray[np.uint8]
Pose = tuple[Vec3, tuple[float, float, float, float]]
Color = tuple[float, float, float, float]

_EYE, _LOOK_AT = (1.35, 0.75, 0.72), (0.36, 0.02, 0.24)
_TABLE: Color = (0.78, 0.71, 0.6, 1.0)
_TOTE: Color = (0.35, 0.45, 0.58, 1.0)
_PALETTE: tuple[Color, ...] = (
    (0.86, 0.37, 0.2, 1.0), (0.2, 0.55, 0.75, 1.0), (0.93, 0.72, 0.2, 1.0), (0.33, 0.62, 0.35, 1.0),
)  # fmt: skip


class Renderer:
    """Draws the arm with the meshes that PyBullet ships for it, or else with its own URDF."""

    def __init__(self, robot: RobotModel) -> None:
        self._client: int = bullet.connect(bullet.DIRECT)
        with _visual_urdf(robot) as path, silent(1):
            self._arm: int = bullet.loadURDF(path, useFixedBase=True, physicsClientId=self._client)
        names = [
            bullet.getJointInfo(self._arm, i, physicsClientId=self._client)[1].decode()
            for i in range(bullet.getNumJoints(self._arm, physicsClientId=self._client))
        ]
        self._joints = [names.index(n) for n in (*robot.joint_names, *robot.gripper.joint_names)]
        self._static_box((0.45, 0.0, -0.02), (0.5, 0.6, 0.02), _TABLE)
        self._bodies: list[int] = []

    def _static_box(self, center: Vec3, half: Vec3, color: Color) -> None:
        shape = bullet.createVisualShape(
            bullet.GEOM_BOX, halfExtents=half, rgbaColor=color, physicsClientId=self._client
        )
        bullet.createMultiBody(0.0, -1, shape, basePosition=center, physicsClientId=self._client)

    def set(self, joints: Joints, spec: ObjectSpec, pose: Pose, tote_parts: list[tuple[Vec3, Vec3]]) -> None:
        """Set joints (rad) and fingers (m), the object's pose, and the (half extents, center) of the tote's parts."""
        for joint, value in zip(self._joints, joints, strict=True):
            bullet.resetJointState(self._arm, joint, value, physicsClientId=self._client)
        for body in self._bodies:
            bullet.removeBody(body, physicsClientId=self._client)
        body = create_object(self._client, spec, pose[0], 0.0)
        bullet.resetBasePositionAndOrientation(body, *pose, physicsClientId=self._client)
        known = spec.object_class in OBJECT_CLASSES
        color = _PALETTE[(OBJECT_CLASSES.index(spec.object_class) if known else 0) % len(_PALETTE)]
        bullet.changeVisualShape(body, -1, rgbaColor=color, physicsClientId=self._client)
        self._bodies = [body]
        for half, center in tote_parts:
            shape = bullet.createVisualShape(
                bullet.GEOM_BOX, halfExtents=half, rgbaColor=_TOTE, physicsClientId=self._client
            )
            part = bullet.createMultiBody(0.0, -1, shape, basePosition=center, physicsClientId=self._client)
            self._bodies.append(part)

    def picture(self, width: int, height: int) -> Image:
        """RGB image, uint8, shape (height, width, 3)."""
        view = bullet.computeViewMatrix(_EYE, _LOOK_AT, (0.0, 0.0, 1.0), physicsClientId=self._client)
        lens = bullet.computeProjectionMatrixFOV(45.0, width / height, 0.1, 4.0, physicsClientId=self._client)
        _, _, rgba, _, _ = bullet.getCameraImage(
            width, height, view, lens, lightDirection=(1.0, 0.6, 2.0), shadow=0,
            renderer=bullet.ER_TINY_RENDERER, flags=bullet.ER_NO_SEGMENTATION_MASK, physicsClientId=self._client,
        )  # fmt: skip
        return np.asarray(rgba, np.uint8).reshape(height, width, 4)[:, :, :3].copy()

    def close(self) -> None:
        """Disconnect from PyBullet."""
        bullet.disconnect(physicsClientId=self._client)


def _visual_urdf(robot: RobotModel) -> AbstractContextManager[str]:
    shipped = {"panda": Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf"}
    path = shipped.get(robot.name)
    return nullcontext(str(path)) if path is not None and path.is_file() else SimulatedUrdf(robot).file()
