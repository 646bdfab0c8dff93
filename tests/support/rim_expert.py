"""A test-side script that takes a basket by its rim: it shows that the shift can be mastered, and ships nowhere."""

from __future__ import annotations

import math

import numpy as np

from floop_envs.env import ArmEnv
from floop_envs.shapes import RIM_THICKNESS_M
from floop_robot.robot.kinematics import Kinematics, yaw_of
from floop_robot.spec.layout import Vector
from floop_robot.spec.tasks.grasp_state import GraspEstimator, GraspParameters

DEPTH_M = 0.018
"""How far below the rim the TCP goes."""


class RimExpert:
    """Knows the gripper's absolute yaw (from the joints), which the observation gives only relative to the object."""

    def __init__(self, env: ArmEnv) -> None:
        self._env, self._kinematics = env, Kinematics(env.robot)
        self._at = {name: part.start for name, part in env.rules.spec.observation.slices.items()}
        self._sensor = GraspEstimator(env.rules.spec.observation, GraspParameters())

    def mean(self, observation: Vector) -> Vector:
        o = observation.tolist()
        if self._sensor.read(observation).grasped:
            return np.array([0.0, 0.0, 0.8, 0.0, -1.0], np.float32)
        sine, cosine = o[self._at["yaw_difference"] : self._at["yaw_difference"] + 2]
        turn = math.remainder(0.5 * math.atan2(sine, cosine), 0.5 * math.pi)
        yaw = yaw_of(self._kinematics.pose(self._env.state.q_rad)) + turn
        dx, dy, dz = o[self._at["object_from_tcp"] : self._at["object_from_tcp"] + 3]
        half = 0.5 * o[self._at["object_size"]] - 0.5 * RIM_THICKNESS_M
        height = o[self._at["object_size"] + 2]
        # The fingers open along the tool's y axis; of the two walls across it, the one nearer to the base.
        ux, uy = math.sin(yaw), -math.cos(yaw)
        side = -1.0 if (ux * 1.0 + uy * 0.2) > 0 else 1.0
        way = [dx + side * half * ux, dy + side * half * uy, dz + 0.5 * height - DEPTH_M]
        aside = math.hypot(way[0], way[1])
        way[2] += min(max((aside - 0.008) / 0.02, 0.0), 1.0) * 0.05
        closing = aside < 0.012 and abs(way[2]) < 0.01
        lag = o[self._at["tracking_error"] : self._at["tracking_error"] + 3]
        move = [0.6 * (w - e) / 0.04 for w, e in zip(way, lag, strict=True)]
        return np.clip(np.array([*move, 0.6 * turn / 0.16, -1.0 if closing else 1.0], np.float32), -1.0, 1.0)

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        return self.mean(observation), math.nan
