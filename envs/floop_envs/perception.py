"""Perception: object poses as a camera reports them, with the scenario's latency, noise and calibration error."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from floop_robot.robot.messages import PerceivedObject, Vec3
from floop_robot.spec.scenario import Scenario

_NOISE_ROWS = 512
"""Frames of noise drawn per episode (10 s at 50 Hz); then it repeats."""
_YAW_NOISE_RAD_PER_M = 5.0
"""1 mm of position noise comes with 0.005 rad of yaw noise: edges 20 cm apart give both."""

Quaternion = tuple[float, float, float, float]


class Perception:
    """Turns true object poses into perceived ones; one per world, restarted with every scenario."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, int, Vec3, float]] = deque(maxlen=64)  # 1.28 s of 50 Hz: more than any latency
        self._count = 0

    def start(self, scenario: Scenario) -> None:
        """Start an episode of `scenario`."""
        spec = scenario.object
        self._frames.clear()
        self._count = 0
        self._class, self._size = spec.object_class, spec.size_m
        self._offset, self._latency_s = scenario.calibration_offset_m, scenario.latency_s
        rng = np.random.default_rng((scenario.seed, 0x0B5))
        self._noise = (rng.standard_normal((_NOISE_ROWS, 4)) * scenario.position_noise_m).tolist()

    def add_frame(self, time_s: float, position: Vec3, orientation: Quaternion) -> None:
        """Add the true pose (m, quaternion xyzw, base frame) at `time_s`, simulated."""
        x, y, z, w = orientation
        yaw = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
        self._frames.append((time_s, self._count, position, yaw))
        self._count += 1

    def report(self, time_s: float) -> PerceivedObject | None:
        """The newest frame that has arrived, given the latency. At first the first frame; None without any."""
        if not self._frames:
            return None
        ready = time_s - self._latency_s + 1e-9
        frame = next((f for f in reversed(self._frames) if f[0] <= ready), self._frames[0])
        _, index, (x, y, z), yaw = frame
        nx, ny, nz, nyaw = self._noise[index % _NOISE_ROWS]
        ox, oy, oz = self._offset
        return PerceivedObject(
            object_class=self._class,
            size_m=self._size,
            position_m=(x + nx + ox, y + ny + oy, z + nz + oz),
            yaw_rad=yaw + _YAW_NOISE_RAD_PER_M * nyaw,
        )
