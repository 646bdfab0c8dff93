"""How far commanded joint positions leave a robot's limits."""

from __future__ import annotations

import numpy as np

from floop_robot.robot.kinematics import Kinematics
from floop_robot.spec.robot_model import RobotModel, load_robot

RATE_HZ = 50.0
MODEL = load_robot("panda")
KINEMATICS = Kinematics(MODEL)


def worst_violation(commands: np.ndarray, model: RobotModel = MODEL, rate_hz: float = RATE_HZ) -> float:
    """How far the commanded positions (t, 7) leave any limit, at most; the rates are their finite differences."""
    limits = model.limits
    velocity = np.diff(commands, axis=0) * rate_hz
    acceleration = np.diff(velocity, axis=0) * rate_hz
    places = np.array([KINEMATICS.position(q) for q in commands.tolist()])
    return max(
        float(x.max())
        for x in (
            np.subtract(limits.position_lower_rad, commands),
            commands - np.array(limits.position_upper_rad),
            np.abs(velocity) - np.array(limits.velocity_rad_s),
            np.abs(acceleration) - np.array(limits.acceleration_rad_s2),
            np.subtract(limits.workspace_low_m, places),
            places - np.array(limits.workspace_high_m),
        )
    )
