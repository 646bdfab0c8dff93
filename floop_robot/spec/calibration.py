"""Calibration: corrections of perceived object positions, by robot. They are part of a policy and travel with it.

A camera that is off shifts every observation. Subtracting the offset makes observations, reward and success comparable
between robots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

Offset = tuple[float, float, float]
"""m, robot base frame."""
Calibration = Mapping[str, Offset]
"""What is subtracted from perceived object positions, by robot; robots without an entry see as they are."""

NO_OFFSET: Offset = (0.0, 0.0, 0.0)
MAX_OFFSET_M = 0.1
"""No correction is larger along any axis (so up to 14 cm on the table): a camera further off needs a person."""
MAX_CALIBRATED_ROBOTS = 256
SHOWN_ROBOTS = 8
"""A text names so many robots at most; of more it gives the number."""


def corrected(position_m: Offset, correction_m: Offset) -> Offset:
    """A perceived position without the robot's offset."""
    (x, y, z), (dx, dy, dz) = position_m, correction_m
    return x - dx, y - dy, z - dz


def calibration_text(calibration: Calibration) -> str:
    """What is added to perceived positions, in words: "robot_3 by (-29.1, +23.4, +0.0) mm"; empty for nothing."""
    shown = []
    for robot, offset in sorted(calibration.items())[:SHOWN_ROBOTS]:
        name = robot if robot.isprintable() else repr(robot)  # a line break could forge a line of the audit
        shown.append(f"{name} by ({', '.join(f'{-1e3 * value + 0.0:+.1f}' for value in offset)}) mm")
    more = [f"{len(calibration)} robots in all"] if len(calibration) > SHOWN_ROBOTS else []
    return "; ".join(shown + more)


def calibration_fault(calibration: Calibration) -> str:
    """What is wrong with corrections that came from outside; empty if nothing is."""
    if len(calibration) > MAX_CALIBRATED_ROBOTS:
        return f"corrections for {len(calibration)} robots, {MAX_CALIBRATED_ROBOTS} at most"
    for robot, offset in calibration.items():
        if not all(math.isfinite(value) and abs(value) <= MAX_OFFSET_M for value in offset):
            return f"a correction of {offset} m for {robot}, {MAX_OFFSET_M:g} m along each axis at most"
    return ""
