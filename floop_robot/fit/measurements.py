"""Measurements: what recordings tell of hidden parameters directly, without a search.

* Fingers that hold something press with the gripper's force.
* An object that nobody touched is perceived with the noise, and at its rest height plus the vertical calibration error.
* An object that is held follows the TCP, later by the latency. It lies between the fingers, so what it is perceived off
  that line is calibration error.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.fit.replay import Trajectory, Values
from floop_robot.spec.tasks.grasp_state import GraspParameters

MAX_LATENCY_S = 0.4
_LATENCY_STEP_S = 0.005
FRAME_S = 0.02
"""Time between two frames of perception; latencies are known no better."""
_LIFTED_M = 0.015
"""An object this far above its rest height is off the table."""
_HOLDS = 0.6
"""Fingers wider than this share of an object's smaller side have it between them, and not only its rim."""
_MIN_HELD_ROWS = 8
_SLIDES_M = 0.002
"""A held object that follows the TCP worse than this slides, or is not held."""
_GRASP_M = 0.003
"""How far from the middle of the fingers an object's center may be held: at corners, or turned."""
_WELL_KNOWN_M = 0.006
_MIN_LIFTED, _PLAUSIBLE_M = 4, 0.01
"""Where fewer episodes lift an object that seems to be further off, they hold it at a corner: 8 mm off, of 40."""
_NOISE_ERROR, _HEIGHT_ERROR_M = 0.15, 3e-4
"""Standard deviations (share of the noise, m) that more episodes do not lower; chosen by coverage."""
_UNKNOWN_LATENCY_S = 0.05
_EFFORTS_ALIKE = 0.02


class Estimate(msgspec.Struct, frozen=True):
    """A value and its standard deviation."""

    value: float
    std: float


class Measurements(msgspec.Struct, frozen=True, kw_only=True):
    """What the recordings of a robot tell directly; None where they don't."""

    noise_m: Estimate | None = None
    calibration_z_m: Estimate | None = None
    force_n: float | None = None
    latency_s: Estimate | None = None
    calibration_xy: tuple[Values, Values] | None = None
    """Mean (m), shape (2,), and precision (1/m²), shape (2, 2)."""


class HeldRows(msgspec.Struct, frozen=True):
    """The rows of an episode in which the fingers press on the object from both sides."""

    trajectory: Trajectory
    yaw_rad: Values
    """Of the gripper, shape (n,), all rows."""
    rows: NDArray[np.int64]
    """Their indices, shape (m,)."""
    lifted: NDArray[np.bool_]
    """Which of them have it above the table, shape (m,)."""

    @classmethod
    def of(cls, trajectory: Trajectory, yaw_rad: Values) -> HeldRows:
        """Find them by effort and width."""
        t, smaller = trajectory, min(trajectory.object_size[:2])
        pressing = (t.effort >= GraspParameters().min_effort_n) & (t.width >= _HOLDS * smaller)
        rows = np.flatnonzero(pressing).astype(np.int64)
        return cls(t, yaw_rad, rows, t.object[rows, 2] > t.start[2] + _LIFTED_M)

    def tcp_before(self, latency_s: float, period_s: float) -> Values:
        """The TCP this long before the held rows, shape (rows, 3): a cubic through positions and velocities."""
        t = self.trajectory
        x = np.clip(self.rows - latency_s / period_s, 0.0, len(t.tcp) - 1 - 1e-9)
        i = x.astype(np.int64)
        f = (x - i)[:, None]
        p0, p1, v0, v1 = t.tcp[i], t.tcp[i + 1], t.velocity[i] * period_s, t.velocity[i + 1] * period_s
        near, far = (1.0 + 2.0 * f) * (1.0 - f) ** 2 * p0, f * f * (3.0 - 2.0 * f) * p1
        held: Values = near + far + f * (1.0 - f) ** 2 * v0 - f * f * (1.0 - f) * v1
        return held


def measure(trajectories: Sequence[Trajectory], held: Sequence[HeldRows], period_s: float) -> Measurements:
    """Measure what can be measured. `held`: of the same episodes; `period_s`: of the policy."""
    noise, height = _noise(trajectories), _height(trajectories)
    noise_m = noise.value if noise else 0.001
    latency = _latency([each for each in held if each.lifted.sum() >= 3], noise_m, period_s)
    return Measurements(
        noise_m=noise,
        calibration_z_m=height,
        force_n=_force(trajectories),
        latency_s=latency,
        # Fingers that press on a corner of an object on the table, or down on it, seem to hold it, too.
        calibration_xy=_calibration([each for each in held if each.lifted.sum() >= 3], latency, noise_m, period_s),
    )


def _noise(trajectories: Sequence[Trajectory]) -> Estimate | None:
    squares, count = 0.0, 0
    for t in trajectories:
        frames = np.unique(t.object[: t.untouched], axis=0)  # with latency, the first frame is seen several times
        squares += float(((frames - frames.mean(axis=0)) ** 2).sum())
        count += 3 * (len(frames) - 1)
    if count < 3:
        return None
    value = float(np.sqrt(squares / count))
    return Estimate(value, value * max(_NOISE_ERROR, 1.0 / np.sqrt(2.0 * count)))


def _height(trajectories: Sequence[Trajectory]) -> Estimate | None:
    offsets = [t.start[2] - 0.5 * t.object_size[2] for t in trajectories]
    if len(offsets) < 2:
        return None
    return Estimate(
        float(np.median(offsets)), max(_HEIGHT_ERROR_M, 1.25 * float(np.std(offsets)) / np.sqrt(len(offsets)))
    )


def _force(trajectories: Sequence[Trajectory]) -> float | None:
    """The effort at which the fingers stay, from one row to the next."""
    steady = []
    for t in trajectories:
        before, after = t.effort[:-1], t.effort[1:]
        alike = (before >= 2.0) & (np.abs(after - before) <= _EFFORTS_ALIKE * before)
        steady += after[alike].tolist()
    return float(np.median(steady)) if len(steady) >= 3 else None


def _latency(held: Sequence[HeldRows], noise_m: float, period_s: float) -> Estimate | None:
    """The delay with which perceived heights follow the TCP's best, if they follow it at all."""
    if sum(int(each.lifted.sum()) for each in held) < _MIN_HELD_ROWS:
        return None
    delays, scale = np.arange(0.0, MAX_LATENCY_S, _LATENCY_STEP_S), noise_m + 0.5 * _SLIDES_M
    costs, sizes = [], []
    for delay in delays:
        errors = []
        for each in held:
            above = (each.trajectory.object[each.rows, 2] - each.tcp_before(delay, period_s)[:, 2])[each.lifted]
            errors.append(above - np.median(above))
        off = np.abs(np.concatenate(errors))
        costs.append(2.0 * float(np.log1p(0.25 * (off / scale) ** 2).sum()))
        sizes.append(float(np.quantile(off, 0.75)))
    best = int(np.argmin(costs))
    if sizes[best] > 2.0 * noise_m + _SLIDES_M:
        return None
    likely = delays[np.array(costs) < costs[best] + 4.0]
    # A frame is shown until the next one: the delay that is seen is up to one frame longer than the true one.
    return Estimate(max(0.0, float(delays[best]) - 0.5 * FRAME_S), max(0.3 * FRAME_S, 0.25 * float(np.ptp(likely))))


def _calibration(
    held: Sequence[HeldRows], latency: Estimate | None, noise_m: float, period_s: float
) -> tuple[Values, Values] | None:
    """Offset across the fingers, by least squares over episodes, each with its own direction."""
    delay = latency.value + 0.5 * FRAME_S if latency else FRAME_S
    doubt_s = latency.std if latency else _UNKNOWN_LATENCY_S
    precision, mean = np.zeros((2, 2)), np.zeros(2)
    directions, offsets, stds = [], [], []
    for each in held:
        rows = each.rows[each.lifted]
        yaw = float(np.median(np.interp(rows - delay / period_s, np.arange(len(each.yaw_rad)), each.yaw_rad)))
        across = np.array([-np.sin(yaw), np.cos(yaw)])
        off = (each.trajectory.object[rows] - each.tcp_before(delay, period_s)[each.lifted])[:, :2] @ across
        directions.append(across)
        offsets.append(float(np.median(off)))
        speed = float(np.median(np.abs(each.trajectory.velocity[rows, :2] @ across)))
        stds.append(float(np.sqrt(_GRASP_M**2 + (doubt_s * speed) ** 2 + noise_m**2 / len(rows))))
    if not directions:
        return None
    std, weights = np.array(stds), np.ones(len(offsets))
    for _ in range(5):  # reweighted against a few that are held at a corner
        scaled = weights / std**2
        precision = np.einsum("n,ni,nj->ij", scaled, directions, directions)
        total = np.einsum("n,n,ni->i", scaled, offsets, directions)
        mean = np.linalg.pinv(precision, rcond=1e-3) @ total
        weights = 1.0 / (1.0 + ((np.array(offsets) - np.array(directions) @ mean) / (2.0 * std)) ** 2)
    if len(held) < _MIN_LIFTED and float(np.hypot(*mean)) > _PLAUSIBLE_M:
        return None
    # Episodes that held it along one direction only leave the other open: then both are searched.
    return (mean, precision) if np.linalg.eigvalsh(precision)[0] >= _WELL_KNOWN_M**-2 else None
