"""Perception: object poses as a camera reports them, with the scenario's latency, noise and calibration error."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np

from floop_robot.robot.messages import PerceivedObject, Vec3
from floop_robot.spec.scenario import Scenario

_NOISE_ROWS = 512
"""Frames of noise in an episode (10 s at 50 Hz); then it repeats."""
_NOISE_BLOCK = 64
"""Frames of noise drawn at a time: most episodes need few."""
_YAW_NOISE_RAD_PER_M = 5.0
"""1 mm of position noise comes with 0.005 rad of yaw noise: edges 20 cm apart give both."""

Quaternion = tuple[float, float, float, float]
Pose = tuple[Vec3, Quaternion]
"""Position (m) and orientation (xyzw), base frame."""


class Perception:
    """Turns true object poses into perceived ones; one per world, restarted with every scenario."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, int, Pose]] = deque(maxlen=64)  # 1.28 s of 50 Hz: more than any latency
        self._count = 0
        self._read_pose: Callable[[], Pose] | None = None

    def start(self, scenario: Scenario) -> None:
        """Start an episode of `scenario`."""
        spec = scenario.object
        self._frames.clear()
        self._count = 0
        self._read_pose = None
        self._class, self._size = spec.object_class, spec.size_m
        self._offset, self._latency_s = scenario.calibration_offset_m, scenario.latency_s
        self._rng, self._noise_m = np.random.default_rng((scenario.seed, 0x0B5)), scenario.position_noise_m
        self._noise: list[list[float]] = []

    def add_frame(self, time_s: float, read_pose: Callable[[], Pose]) -> None:
        """Add a frame of the true pose at `time_s`, simulated.

        Without latency only the newest frame can be asked for, so the pose is not read before `report`.
        """
        if self._latency_s > 0.0:
            self._frames.append((time_s, self._count, read_pose()))
        self._read_pose = read_pose
        self._count += 1

    def report(self, time_s: float) -> PerceivedObject | None:
        """The newest frame that has arrived, given the latency. At first the first frame; None without any."""
        if self._read_pose is None:
            return None
        if self._frames:
            ready = time_s - self._latency_s + 1e-9
            frame = next((f for f in reversed(self._frames) if f[0] <= ready), self._frames[0])
            _, index, ((x, y, z), orientation) = frame
        else:
            index, ((x, y, z), orientation) = self._count - 1, self._read_pose()
        nx, ny, nz, nyaw = self._noise_of(index % _NOISE_ROWS)
        ox, oy, oz = self._offset
        return PerceivedObject(
            object_class=self._class,
            size_m=self._size,
            position_m=(x + nx + ox, y + ny + oy, z + nz + oz),
            yaw_rad=_yaw(orientation) + _YAW_NOISE_RAD_PER_M * nyaw,
        )

    def _noise_of(self, index: int) -> list[float]:
        while index >= len(self._noise):
            self._noise += (self._rng.standard_normal((_NOISE_BLOCK, 4)) * self._noise_m).tolist()
        return self._noise[index]


def _yaw(orientation: Quaternion) -> float:
    x, y, z, w = orientation
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
