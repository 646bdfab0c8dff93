"""Kinematics: forward, Jacobian and damped-least-squares inverse of an arm, in numpy.

Each thread needs its own instance, because it reuses buffers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from floop_robot.robot.messages import Vec3
from floop_robot.spec.chain import Chain, Matrix, load_chain
from floop_robot.spec.robot_model import RobotModel

DAMPING = 0.02
"""λ of damped least squares: below the smallest singular value in the workspace (0.1-0.4), above noise."""
REST_PULL = 0.02
"""Fraction of the way to the rest posture taken per solve, in the null space, so that the elbow does not drift."""
MAX_STEP_RAD = 0.4
"""Longest joint step of one iteration; the linearization is poor beyond it."""


@dataclass(frozen=True, slots=True)
class IkSolution:
    """Result of the inverse kinematics. `ok` is False when the pose was not reached."""

    ok: bool
    q: tuple[float, ...]
    position_error_m: float
    rotation_error_rad: float


class Kinematics:
    """Forward and inverse kinematics of `model`'s chain from base to TCP.

    Joint vectors are sequences of n floats in rad; poses are (4, 4) homogeneous transforms in the base frame.
    """

    def __init__(self, model: RobotModel, chain: Chain | None = None) -> None:
        self.chain = chain or load_chain(model)
        n = self.chain.size
        self._full_low = np.array(model.limits.position_lower_rad)
        self._full_high = np.array(model.limits.position_upper_rad)
        self._low, self._high = self._full_low, self._full_high
        self._rest = np.array(model.home_rad)
        self._cos_part, self._sin_part, self._fixed_part = _split(self.chain.origins)
        self._local, self._scratch = np.empty((n, 4, 4)), np.empty((n, 4, 4))
        self._frames = np.empty((n + 1, 4, 4))  # after each joint; the last is the tip
        self._pairs = [(self._frames[i - 1], self._local[i], self._frames[i]) for i in range(1, n)]
        self._pairs.append((self._frames[n - 1], self.chain.tip, self._frames[n]))
        self._solved: tuple[float, ...] = ()  # the joints of the frames, if the last solution left them: the next seed
        self._tip_frame: Matrix = self._frames[n]
        self._axes, self._arms = np.empty((5, n)), np.empty((5, n))  # rows x y z x y: cross products by slices
        self._jacobian = np.empty((6, n))
        self._damping = DAMPING**2 * np.eye(6)
        self._links = [_flat(origin) for origin in self.chain.origins][::-1]
        self._tip_x: Vec3 = (float(self.chain.tip[0, 0]), float(self.chain.tip[1, 0]), float(self.chain.tip[2, 0]))
        self._tip = (float(self.chain.tip[0, 3]), float(self.chain.tip[1, 3]), float(self.chain.tip[2, 3]))

    def hold(self, q: Sequence[float]) -> None:
        """Widen the joint range of solutions to contain the joints `q` (rad), until the next call."""
        self._low, self._high = np.minimum(self._full_low, q), np.maximum(self._full_high, q)

    @property
    def levers(self) -> tuple[float, ...]:
        """Per joint, an upper bound in m on the TCP's distance from its axis: the length of all links beyond it."""
        lengths = [*(math.dist((0, 0, 0), origin[:3, 3]) for origin in self.chain.origins[1:]), math.hypot(*self._tip)]
        return tuple(sum(lengths[i:]) for i in range(len(lengths)))

    def pose(self, q: Sequence[float]) -> Matrix:
        """Pose of the TCP, a new (4, 4) array."""
        return self._forward(np.asarray(q, np.float64)).copy()

    def position(self, q: Sequence[float]) -> Vec3:
        """TCP position in m; plain Python, twice as fast as `pose`."""
        x, y, z = self._tip
        for angle, link in zip(reversed(q), self._links, strict=True):
            c, s = math.cos(angle), math.sin(angle)
            x, y = c * x - s * y, s * x + c * y
            a, b, d, e, f, g, h, i, j, k, m, o = link
            x, y, z = a * x + b * y + d * z + e, f * x + g * y + h * z + i, j * x + k * y + m * z + o
        return x, y, z

    def position_and_yaw(self, q: Sequence[float]) -> tuple[Vec3, float]:
        """TCP position in m, and yaw in rad of a tool that points (about) down; plain Python as well."""
        x, y, z = self._tip
        u, v, w = self._tip_x
        for angle, link in zip(reversed(q), self._links, strict=True):
            c, s = math.cos(angle), math.sin(angle)
            x, y = c * x - s * y, s * x + c * y
            u, v = c * u - s * v, s * u + c * v
            a, b, d, e, f, g, h, i, j, k, m, o = link
            x, y, z = a * x + b * y + d * z + e, f * x + g * y + h * z + i, j * x + k * y + m * z + o
            u, v, w = a * u + b * v + d * w, f * u + g * v + h * w, j * u + k * v + m * w
        return (x, y, z), math.atan2(v, u)

    def jacobian(self, q: Sequence[float]) -> Matrix:
        """Geometric Jacobian of the TCP, shape (6, n): linear (m/rad) above angular (rad/rad), base frame."""
        self._forward(np.asarray(q, np.float64))
        return self._jacobian_here().copy()

    def solve(
        self,
        target: Matrix,
        seed: Sequence[float],
        *,
        position_tolerance_m: float = 2e-3,
        rotation_tolerance_rad: float = 0.01,
        iterations: int = 8,
    ) -> IkSolution:
        """Joints near `seed`, inside the joint range, whose TCP is at `target`; `ok=False` if none were found.

        It takes at least one step. Convergence is quadratic, so small moves end far inside the tolerances.
        """
        seed = tuple(seed)
        q = np.array(seed, np.float64)
        pull: Matrix | None = (self._rest - q) * REST_PULL
        error = np.empty(6)
        here = self._tip_frame if seed == self._solved else self._forward(q)
        distance, angle = _pose_error(target, here, error)
        for _ in range(iterations):
            if not math.isfinite(distance + angle):
                return IkSolution(False, tuple(map(float, seed)), math.inf, math.inf)
            q += self._step(error, pull)
            pull = None
            np.maximum(q, self._low, out=q)
            np.minimum(q, self._high, out=q)
            distance, angle = _pose_error(target, self._forward(q), error)
            if distance <= position_tolerance_m and angle <= rotation_tolerance_rad:
                self._solved = tuple(q.tolist())
                return IkSolution(True, self._solved, distance, angle)
        return IkSolution(False, tuple(q.tolist()), distance, angle)

    def _step(self, error: Matrix, pull: Matrix | None) -> Matrix:
        """One damped-least-squares step; `pull` acts in the null space of the task."""
        jacobian = self._jacobian_here()
        wanted = error if pull is None else error - jacobian @ pull
        square = jacobian @ jacobian.T + self._damping
        step: Matrix = jacobian.T @ np.linalg.solve(square, wanted)
        if pull is not None:
            step += pull
        longest = float(max(step.max(), -step.min()))
        if longest > MAX_STEP_RAD:
            step *= MAX_STEP_RAD / longest
        return step

    def _forward(self, q: Matrix) -> Matrix:
        """Fill the frames for `q`; returns the tip's (a view that the next call overwrites)."""
        self._solved = ()
        np.multiply(self._cos_part, np.cos(q)[:, None, None], out=self._local)
        np.multiply(self._sin_part, np.sin(q)[:, None, None], out=self._scratch)
        self._local += self._scratch
        self._local += self._fixed_part
        self._frames[0] = self._local[0]
        for before, step, after in self._pairs:
            np.dot(before, step, out=after)
        return self._tip_frame

    def _jacobian_here(self) -> Matrix:
        """Jacobian at the frames of the last `_forward` (a buffer that the next call overwrites)."""
        axes, arms, frames = self._axes, self._arms, self._frames
        axes[:3] = frames[:-1, :3, 2].T
        axes[3:] = axes[:2]
        arms[:3] = (frames[-1, :3, 3] - frames[:-1, :3, 3]).T
        arms[3:] = arms[:2]
        np.multiply(axes[1:4], arms[2:5], out=self._jacobian[:3])
        self._jacobian[:3] -= axes[2:5] * arms[1:4]
        self._jacobian[3:] = axes[:3]
        return self._jacobian


def _split(origins: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """The parts of `origin @ rotation_z(q)` proportional to cos q, to sin q, and constant."""
    cos_part, sin_part, fixed_part = np.zeros_like(origins), np.zeros_like(origins), np.zeros_like(origins)
    cos_part[:, :, :2] = origins[:, :, :2]
    sin_part[:, :, 0] = origins[:, :, 1]
    sin_part[:, :, 1] = -origins[:, :, 0]
    fixed_part[:, :, 2:] = origins[:, :, 2:]
    return cos_part, sin_part, fixed_part


def _flat(origin: Matrix) -> tuple[float, ...]:
    return tuple(float(x) for x in origin[:3].ravel())


def _pose_error(target: Matrix, pose: Matrix, out: Matrix) -> tuple[float, float]:
    """Fill `out` with the twist (m, rad) from `pose` to `target`; returns its two lengths."""
    np.subtract(target[:3, 3], pose[:3, 3], out=out[:3])
    (_, xy, xz), (yx, _, yz), (zx, zy, _) = turn = (target[:3, :3] @ pose[:3, :3].T).tolist()
    x, y, z = (zy - yz) / 2, (xz - zx) / 2, (yx - xy) / 2
    sine = math.sqrt(x * x + y * y + z * z)
    cosine = (turn[0][0] + turn[1][1] + turn[2][2] - 1) / 2
    angle = math.atan2(sine, cosine)
    if sine > 1e-6:
        scale = angle / sine
        x, y, z = x * scale, y * scale, z * scale
    elif cosine < 0:  # half a turn: the axis is undefined, take any
        x, y, z = angle, 0.0, 0.0
    out[3], out[4], out[5] = x, y, z
    dx, dy, dz = out[:3].tolist()
    return math.sqrt(dx * dx + dy * dy + dz * dz), angle


def tool_down(position_m: Sequence[float], yaw_rad: float) -> Matrix:
    """Pose (4, 4) of a tool that points straight down, turned by `yaw_rad` about the base frame's z axis."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    x, y, z = position_m
    return np.array([[c, s, 0.0, x], [s, -c, 0.0, y], [0.0, 0.0, -1.0, z], [0.0, 0.0, 0.0, 1.0]])


def yaw_of(pose: Matrix) -> float:
    """Yaw in rad of a tool that points (about) down; inverse of `tool_down`."""
    return math.atan2(float(pose[1, 0]), float(pose[0, 0]))
