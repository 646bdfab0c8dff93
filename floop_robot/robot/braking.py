"""Braking in discrete time: how fast a joint may move to stop in time, and the path on which all joints stop.

Velocities are in rad/s; `gains` are the largest changes of velocity per tick (rad/s); `dt` is the tick in s. A tick
moves a joint by its *new* velocity times `dt`, because commands are positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from floop_robot.robot.messages import Joints


def arrival_speed(distance: float, gain: float, dt: float) -> float:
    """Fastest speed for this tick from which braking by `gain` per tick ends exactly `distance` away."""
    # Braking from u·gain covers (u + (u-1) + … ) · gain · dt over the whole ticks n = floor(u); solved for u.
    units = abs(distance) / (gain * dt)
    whole = int((math.sqrt(1.0 + 8.0 * units) - 1.0) / 2.0)
    return gain * (units / (whole + 1) + whole / 2)


def ticks_to_stop(v: Sequence[float], gains: Sequence[float]) -> float:
    """Ticks, with fraction, that the slowest joint needs to brake; the others brake in step with it."""
    return max([abs(x) / gain for x, gain in zip(v, gains, strict=True)])


def braked(v: Joints, gains: Sequence[float]) -> Joints:
    """Velocities one tick further on the stop path; all shrink by one factor, so joint space is crossed straight."""
    ticks = ticks_to_stop(v, gains)
    if ticks <= 1.0:
        return (0.0,) * len(v)
    share = 1.0 - 1.0 / ticks
    return tuple([x * share for x in v])


def stop_time(ticks: float, dt: float, k: int) -> float:
    """Time t such that the stop path from (q, v) is at `q + v * t` after `k` ticks (at most `int(ticks)`)."""
    return dt * (k - k * (k + 1) / (2.0 * ticks))


def stop_times(ticks: float, dt: float) -> list[float]:
    """`stop_time` of every tick until the arm is at rest."""
    return [stop_time(ticks, dt, k) for k in range(1, int(ticks) + 1)]
