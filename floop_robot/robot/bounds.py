"""Bounds: joint range and TCP box, widened for an arm that starts outside them."""

from __future__ import annotations

from collections.abc import Sequence

from floop_robot.robot.messages import Joints, Vec3
from floop_robot.spec.robot_model import JointLimits

SLACK = 1e-9
"""Margin inside every limit (m, rad, and as a share of rates), so that rounding never exceeds one."""


class Bounds:
    """Where joints and TCP may be.

    For an arm that starts outside, the bounds are widened to where it is. It may stand or come back, but not go further
    out; as it comes back, the bounds shrink to the full ones.
    """

    def __init__(self, limits: JointLimits) -> None:
        self._full_low = [x + SLACK for x in limits.position_lower_rad]
        self._full_high = [x - SLACK for x in limits.position_upper_rad]
        self._full_box_low = [x + SLACK for x in limits.workspace_low_m]
        self._full_box_high = [x - SLACK for x in limits.workspace_high_m]
        self.hold((), ())

    def hold(self, path: Sequence[Joints], places: Sequence[Vec3]) -> None:
        """Widen the full bounds to contain the joint positions `path` and the TCP positions `places`."""
        self._low: list[float] = [min(column) for column in zip(self._full_low, *path, strict=True)]
        self._high: list[float] = [max(column) for column in zip(self._full_high, *path, strict=True)]
        self._box_low: list[float] = [min(column) for column in zip(self._full_box_low, *places, strict=True)]
        self._box_high: list[float] = [max(column) for column in zip(self._full_box_high, *places, strict=True)]
        full = (self._full_low, self._full_high, self._full_box_low, self._full_box_high)
        self.widened = (self._low, self._high, self._box_low, self._box_high) != full

    def clip(self, q: Joints) -> Joints:
        """`q` clipped to the joint range."""
        return tuple(
            [low if x < low else high if x > high else x for x, low, high in zip(q, self._low, self._high, strict=True)]
        )

    def allows(self, q: Sequence[float]) -> bool:
        """Whether every joint is in range."""
        for x, low, high in zip(q, self._low, self._high, strict=True):  # noqa: SIM110 - half the time of all()
            if not low <= x <= high:
                return False
        return True

    def room(self, place: Vec3) -> float:
        """Distance in m from a TCP position to the nearest wall of the box; negative outside."""
        x, y, z = place
        x0, y0, z0 = self._box_low
        x1, y1, z1 = self._box_high
        return min(x - x0, x1 - x, y - y0, y1 - y, z - z0, z1 - z)
