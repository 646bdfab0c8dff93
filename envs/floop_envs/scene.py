"""Scene: a PyBullet client with what stays between episodes: one arm, a table and, once a task needs it, a tote."""

from __future__ import annotations

from floop_envs.bullet import bullet, silent
from floop_envs.shapes import create_open_box, open_box_parts, rolling_friction
from floop_envs.simulated_urdf import SimulatedUrdf, check_gripper
from floop_robot.robot.messages import Vec3
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.scenario import Shape
from floop_robot.spec.tasks.place import TOTE_HEIGHT_M, TOTE_INSIDE_M

_SOLVER_ITERATIONS = 20
_OUT_OF_SIGHT: Vec3 = (0.0, 0.0, -5.0)
_TOTE_WALL_M, _TOTE_FLOOR_M = 0.008, 0.003
_TOTE_SIZE = (TOTE_INSIDE_M + 2 * _TOTE_WALL_M, TOTE_INSIDE_M + 2 * _TOTE_WALL_M, TOTE_HEIGHT_M)


class Scene:
    """Ids of a PyBullet client and its bodies. `World` sets the friction for every episode."""

    def __init__(self, robot: RobotModel, dt_s: float) -> None:
        check_gripper(robot)
        self.client: int = bullet.connect(bullet.DIRECT)
        with SimulatedUrdf(robot).file() as path, silent(1):
            self.arm: int = bullet.loadURDF(
                path,
                useFixedBase=True,
                flags=bullet.URDF_MERGE_FIXED_LINKS | bullet.URDF_USE_INERTIA_FROM_FILE,
                physicsClientId=self.client,
            )
        self._set_engine(dt_s)
        infos = [self._joint(i) for i in range(bullet.getNumJoints(self.arm, physicsClientId=self.client))]
        index = {name: i for i, (name, _) in enumerate(infos)}
        self.arm_joints = [index[n] for n in robot.joint_names]
        self.fingers = [index[n] for n in robot.gripper.joint_names]
        self.all_joints = self.arm_joints + self.fingers
        self.torques = [infos[i][1] for i in self.arm_joints]
        self._couple_fingers()
        self.table = self._static_box((0.5, 0.0, -0.05), (2.0, 2.0, 0.05))
        self._tote = -1

    def _joint(self, index: int) -> tuple[str, float]:
        """Name and maximum effort (Nm or N) of a joint."""
        info = bullet.getJointInfo(self.arm, index, physicsClientId=self.client)
        return info[1].decode(), info[10]

    def _set_engine(self, dt_s: float) -> None:
        bullet.setGravity(0.0, 0.0, -9.81, physicsClientId=self.client)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=dt_s,
            numSolverIterations=_SOLVER_ITERATIONS,
            numSubSteps=0,
            solverResidualThreshold=1e-5,
            deterministicOverlappingPairs=1,
            erp=0.2,
            physicsClientId=self.client,
        )

    def _couple_fingers(self) -> None:
        """Both fingers move as one, as in a gripper with one motor."""
        left, right = self.fingers
        gear = bullet.createConstraint(
            self.arm, left, self.arm, right, bullet.JOINT_GEAR, [0, 1, 0], [0, 0, 0], [0, 0, 0],
            physicsClientId=self.client,
        )  # fmt: skip
        bullet.changeConstraint(gear, gearRatio=-1, erp=0.2, maxForce=60, physicsClientId=self.client)

    def _static_box(self, center: Vec3, half: Vec3) -> int:
        shape = bullet.createCollisionShape(bullet.GEOM_BOX, halfExtents=half, physicsClientId=self.client)
        return int(bullet.createMultiBody(0.0, shape, basePosition=center, physicsClientId=self.client))

    def place_tote(self, xy_m: tuple[float, float] | None) -> None:
        """Stand the tote at (x, y), or take it away. Scenes that never had one don't pay for its five boxes."""
        if self._tote < 0 and xy_m is not None:
            self._tote = create_open_box(self.client, 0.0, _TOTE_SIZE, _TOTE_WALL_M, _TOTE_FLOOR_M, _OUT_OF_SIGHT, 0.0)
        if self._tote >= 0:
            where = _OUT_OF_SIGHT if xy_m is None else (*xy_m, 0.5 * TOTE_HEIGHT_M)
            bullet.resetBasePositionAndOrientation(self._tote, where, (0, 0, 0, 1), physicsClientId=self.client)

    def set_friction(self, table: float, fingers: float, shape: Shape) -> None:
        """Lateral friction coefficients, for an object of `shape`; Bullet multiplies those of two bodies in contact."""
        rolling = rolling_friction(shape)
        bullet.changeDynamics(self.table, -1, lateralFriction=table, physicsClientId=self.client)
        for finger in self.fingers:
            bullet.changeDynamics(
                self.arm, finger, lateralFriction=fingers, spinningFriction=0.02, rollingFriction=rolling,
                frictionAnchor=1, physicsClientId=self.client,
            )  # fmt: skip

    def close(self) -> None:
        """Disconnect from PyBullet."""
        bullet.disconnect(physicsClientId=self.client)


def tote_parts(x_m: float, y_m: float) -> list[tuple[Vec3, Vec3]]:
    """(half extents, center) of the boxes that make the tote when it stands at (x, y), base frame."""
    parts = open_box_parts(_TOTE_SIZE, _TOTE_WALL_M, _TOTE_FLOOR_M)
    return [(half, (x + x_m, y + y_m, z + 0.5 * TOTE_HEIGHT_M)) for half, (x, y, z) in parts]
