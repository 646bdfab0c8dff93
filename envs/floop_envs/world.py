"""World: one arm, one table, one tote and one object in PyBullet, driven by joint commands at servo rate.

It is the driver's side of the control path: it takes the commands of the safety limiter and reports a `RobotState`, as
a real arm and its perception do. Grasps hold by friction only; no constraint ties an object to the gripper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from floop_envs.bullet import bullet
from floop_envs.perception import Perception, Pose
from floop_envs.renderer import Image, Renderer
from floop_envs.scene import Scene, tote_parts
from floop_envs.shapes import create_object
from floop_robot.robot.messages import Joints, Phase, RobotState, Vec3
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.tasks.place import TOTE_HEIGHT_M, TOTE_INSIDE_M

PHYSICS_RATE_HZ = 150.0
"""Physics steps per second. At 20 solver iterations a held object creeps at most 0.2 mm in 2 s."""
SERVO_RATE_HZ = 50.0
_ARM_GAIN = 0.3
"""Fraction of the joint position error that the motors remove per physics step, beside the commanded velocity."""
_FINGER_GAIN = 0.2
_CLOSE_AHEAD_M = 0.02
"""How far ahead of the measured width the fingers aim: `_FINGER_GAIN` makes that 0.4 m/s at most."""
_CLOSED_M = 0.001
TRUE_LIFT_M = 0.09
"""An object this much above its rest height counts as lifted: the task's 10 cm minus perception errors."""
RECYCLE_AFTER = 20_000
"""Episodes after which the PyBullet client is replaced."""


class WorldTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What only the simulator knows; for reports and tests."""

    object_position_m: Vec3
    lift_m: float
    """Height of the object's center above its rest height."""
    finger_contacts: int
    """Number of fingers (0 to 2) that touch the object."""
    in_tote: bool


class ArmMotion(msgspec.Struct, frozen=True, kw_only=True):
    """Where the arm is in the middle of an episode, and what it was told."""

    joints: tuple[tuple[float, float], ...]
    """Positions and velocities of arm joints (rad, rad/s) and fingers (m, m/s)."""
    command: tuple[Joints, Joints, float, float]
    """The last one, as in `World.command`."""
    steps: int
    """Physics steps since the start of the episode."""


class World:
    """A scene with an object; `reset` sets up a scenario in it."""

    def __init__(
        self, robot: RobotModel, physics_rate_hz: float = PHYSICS_RATE_HZ, recycle_after: int = RECYCLE_AFTER
    ) -> None:
        self.robot = robot
        self.dt_s = 1.0 / physics_rate_hz
        self.steps_per_tick = round(physics_rate_hz / SERVO_RATE_HZ)
        self._recycle_after = recycle_after
        self._scene = Scene(robot, self.dt_s)
        self._closed = False
        self._resets = 0
        arm = len(robot.joint_names)
        self._gains = [_ARM_GAIN] * arm + [_FINGER_GAIN] * 2
        # In a servo tick a motor moves its joint by a share of the way to its target plus `_lead_s` of its velocity.
        self._lead_s = self.dt_s / _ARM_GAIN
        share = 1.0 - (1.0 - _ARM_GAIN) ** self.steps_per_tick
        self._reach = [top / SERVO_RATE_HZ / share for top in robot.limits.velocity_rad_s]
        self._velocity_gains = [1.0] * (arm + 2)
        self._joint_states: Sequence[Sequence[float]] | None = None
        self._object_pose: Pose | None = None
        self._perception = Perception()
        self._renderer: Renderer | None = None
        self._object = -1
        self._tote_m: Vec3 | None = None
        self._scenario: Scenario | None = None
        self._steps = 0

    def reset(self, scenario: Scenario, motion: ArmMotion | None = None) -> None:
        """Set up `scenario`, with the arm in `motion`, else at home and its fingers open."""
        self._clear()
        motion = motion or self._home()
        scene, client = self._scene, self._scene.client
        self._scenario, self._steps = scenario, motion.steps
        for joint, (position, velocity) in zip(scene.all_joints, motion.joints, strict=True):
            bullet.resetJointState(scene.arm, joint, position, velocity, physicsClientId=client)
        scene.place_tote(scenario.tote_xy_m)
        self._tote_m = None if scenario.tote_xy_m is None else (*scenario.tote_xy_m, 0.0)
        self._rest_height = 0.5 * scenario.object.size_m[2]
        rest = (*scenario.object_xy_m, self._rest_height)
        self._object = create_object(client, scenario.object, rest, scenario.object_yaw_rad)
        scene.set_friction(scenario.table_friction, scenario.finger_friction, scenario.object.shape)
        self._perception.start(scenario)
        self._forget()
        self.command(*motion.command)
        self._perception.add_frame(self.time_s, self._pose)

    def _home(self) -> ArmMotion:
        gripper, still = self.robot.gripper, (0.0,) * len(self.robot.home_rad)
        open_m = 0.5 * gripper.max_width_m
        return ArmMotion(
            joints=tuple((q, 0.0) for q in (*self.robot.home_rad, open_m, open_m)),
            command=(self.robot.home_rad, still, gripper.max_width_m, gripper.max_force_n),
            steps=0,
        )

    def motion(self) -> ArmMotion:
        """Where the arm is now, for a `reset` in another world."""
        joints = tuple((state[0], state[1]) for state in self._measured())
        return ArmMotion(joints=joints, command=self._command, steps=self._steps)

    def _clear(self) -> None:
        """Remove the last object. PyBullet leaks about 4 KB per body, so the scene is replaced now and then."""
        self._resets += 1
        if self._resets % self._recycle_after == 0:
            self._scene.close()
            self._scene = Scene(self.robot, self.dt_s)
        elif self._object >= 0:
            bullet.removeBody(self._object, physicsClientId=self._scene.client)
        self._object = -1

    def command(self, q_rad: Joints, dq_rad_s: Joints, gripper_width_m: float, gripper_force_n: float) -> None:
        """Set the motors' targets: joints (rad, rad/s), gripper width (m) and force (N).

        Motors keep to the joints' speed limits: a joint that was held back does not spring back. That is an assumption;
        many real arms make a protective stop instead.
        """
        self._command = q_rad, dq_rad_s, gripper_width_m, gripper_force_n
        scene, measured = self._scene, self._measured()
        left, right = measured[-2:]
        targets = [
            q if abs(way := q - joint[0] + self._lead_s * dq) <= reach else q - way + math.copysign(reach, way)
            for q, dq, joint, reach in zip(q_rad, dq_rad_s, measured[:-2], self._reach, strict=True)
        ]
        width = left[0] + right[0]
        change = gripper_width_m - width
        if change < -_CLOSED_M:  # close with full force however small the remaining gap is, as on a thin rim
            change = -_CLOSE_AHEAD_M
        aim = 0.5 * (width + min(change, _CLOSE_AHEAD_M))
        limit = self._scenario.gripper_force_n if self._scenario else gripper_force_n
        force = min(limit, gripper_force_n)
        bullet.setJointMotorControlArray(
            scene.arm, scene.all_joints, bullet.POSITION_CONTROL,
            targetPositions=[*targets, aim, aim],
            targetVelocities=[*dq_rad_s, 0.0, 0.0], forces=[*scene.torques, force, force],
            positionGains=self._gains, velocityGains=self._velocity_gains, physicsClientId=scene.client,
        )  # fmt: skip

    def step(self, count: int) -> None:
        """Advance physics by `count` steps and add a perception frame."""
        for _ in range(count):
            bullet.stepSimulation(physicsClientId=self._scene.client)
        self._steps += count
        self._forget()
        self._perception.add_frame(self.time_s, self._pose)

    def _forget(self) -> None:
        """What was read from PyBullet is out of date."""
        self._joint_states = self._object_pose = None

    def _measured(self) -> Sequence[Sequence[float]]:
        """PyBullet's states of arm joints and fingers, read once after each change."""
        if self._joint_states is None:
            scene = self._scene
            self._joint_states = bullet.getJointStates(scene.arm, scene.all_joints, physicsClientId=scene.client)
        return self._joint_states

    def _pose(self) -> Pose:
        """True position and orientation of the object, read once after each change."""
        if self._object_pose is None:
            client = self._scene.client
            self._object_pose = bullet.getBasePositionAndOrientation(self._object, physicsClientId=client)
        return self._object_pose

    def servo_tick(self, q_rad: Joints, dq_rad_s: Joints, gripper_width_m: float, gripper_force_n: float) -> None:
        """Follow one joint command for one servo period."""
        self.command(q_rad, dq_rad_s, gripper_width_m, gripper_force_n)
        self.step(self.steps_per_tick)

    def joints(self) -> tuple[Joints, Joints]:
        """Measured joint positions (rad) and velocities (rad/s) of the arm."""
        q, dq, _, _ = zip(*self._measured()[:-2], strict=True)
        return q, dq

    @property
    def time_s(self) -> float:
        """Simulated time since the reset."""
        return self._steps * self.dt_s

    def state(self) -> RobotState:
        """The state that a robot would publish now. Stamps are simulated time; a driver sets its own."""
        q, dq = self.joints()
        left, right = self._measured()[-2:]
        return RobotState(
            tick=self._steps // self.steps_per_tick,
            stamp_ns=round(self.time_s * 1e9),
            mono_s=self.time_s,
            q_rad=q,
            dq_rad_s=dq,
            gripper_width_m=max(left[0] + right[0], 0.0),
            # Before the first step the motors still report the efforts of the previous episode.
            gripper_effort_n=0.5 * (abs(left[3]) + abs(right[3])) if self._steps else 0.0,
            object=self._perception.report(self.time_s),
            tote_m=self._tote_m,
            phase=Phase.READY,
        )

    def truth(self) -> WorldTruth:
        """The true state of the object."""
        position = self._pose()[0]
        return WorldTruth(
            object_position_m=position,
            lift_m=position[2] - self._rest_height,
            finger_contacts=self._finger_contacts(),
            in_tote=self._is_in_tote(position),
        )

    def _finger_contacts(self) -> int:
        """Number of fingers that touch the object."""
        scene = self._scene
        return sum(
            bool(bullet.getContactPoints(scene.arm, self._object, finger, physicsClientId=scene.client))
            for finger in scene.fingers
        )

    def _is_in_tote(self, position: Vec3) -> bool:
        if self._tote_m is None or math.isnan(position[2]):
            return False
        (x, y, z), reach = position, 0.5 * TOTE_INSIDE_M
        return max(abs(x - self._tote_m[0]), abs(y - self._tote_m[1])) <= reach and z <= TOTE_HEIGHT_M + 0.01

    def true_success(self) -> bool:
        """Whether the task is really done; for reports only. Contacts are looked for only where they decide."""
        position = self._pose()[0]
        if self._tote_m is not None:
            return self._is_in_tote(position)
        return position[2] - self._rest_height >= TRUE_LIFT_M and self._finger_contacts() > 0

    def picture(self, width: int = 320, height: int = 240) -> Image:
        """RGB image, uint8, shape (height, width, 3)."""
        if self._renderer is None:
            self._renderer = Renderer(self.robot)
        assert self._scenario is not None, "reset the world before taking its picture"
        tote = tote_parts(*self._tote_m[:2]) if self._tote_m is not None else []
        self._renderer.set(tuple(s[0] for s in self._measured()), self._scenario.object, self._pose(), tote)
        return self._renderer.picture(width, height)

    def close(self) -> None:
        """Disconnect from PyBullet."""
        if not self._closed:
            self._scene.close()
            self._closed = True
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
