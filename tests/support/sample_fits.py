"""Fits of the simulator to a robot, made by hand."""

from __future__ import annotations

import numpy as np

from floop_robot.spec.calibration import Offset
from floop_robot.spec.hidden_parameters import HiddenParameters
from floop_robot.spec.simulator_fit import SimulatorFit


def calibration_fit(robot: str, offset: Offset, std_m: float = 0.001, seed: int = 0) -> SimulatorFit:
    """A fit that knows a robot's calibration offset up to a standard deviation along each axis, and nothing else."""
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal((16, 3))
    spread = (spread - spread.mean(axis=0)) / spread.std(axis=0)
    worlds = [
        HiddenParameters(calibration_x_m=x, calibration_y_m=y, calibration_z_m=z)
        for x, y, z in (np.array(offset) + std_m * spread).tolist()
    ]
    return SimulatorFit(
        robot=robot, samples=tuple(worlds), episodes=6, mismatch_nominal=0.5, mismatch=0.1, explains=True
    )
