"""FittedCalibration: the corrections that candidates carry, taken from the latest fits of the simulator to robots.

A fit knows how far a robot's perceived positions are off, and how surely. What is subtracted changes only when a fit
says something clearly else: so noise makes no new candidates, and a camera that was put right again loses its
correction.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

from floop_robot.spec.calibration import MAX_CALIBRATED_ROBOTS, MAX_OFFSET_M, NO_OFFSET, Calibration, Offset
from floop_robot.spec.simulator_fit import SimulatorFit

log = logging.getLogger(__name__)

MIN_CHANGE_M = 0.005
"""Smaller offsets change nothing: explorers draw offsets of up to 3 mm along each axis, so policies cope with them."""
CLEAR_STDS = 3.0
"""A correction changes only when the fit differs from it by this many standard deviations."""
_AXES = ("calibration_x_m", "calibration_y_m")
"""Height is not corrected: an object that stands on a pad, or in a bin, looks like a camera that is off."""


class FittedCalibration:
    """What each robot should subtract from perceived positions, as known now."""

    def __init__(self, corrections: Calibration | None = None) -> None:
        """`corrections`: those to begin with, as a learner that was restarted had them."""
        self.corrections: dict[str, Offset] = dict(corrections or {})

    def take(self, fits: Iterable[SimulatorFit]) -> None:
        """Take in fits, oldest first; those that do not explain the failures say nothing."""
        for fit in fits:
            if not fit.explains:
                continue
            x, y = (fit.mean(axis) for axis in _AXES)
            std_m = math.hypot(*(fit.std(axis) for axis in _AXES))
            before = self.corrections.get(fit.robot, NO_OFFSET)
            if math.dist((x, y), before[:2]) >= max(MIN_CHANGE_M, CLEAR_STDS * std_m):
                self._change(fit.robot, (_to_tenth_mm(x), _to_tenth_mm(y), 0.0))

    def _change(self, robot: str, offset: Offset) -> None:
        if max(map(abs, offset)) > MAX_OFFSET_M:
            self.corrections.pop(robot, None)
            log.warning(
                "perceived positions of %s seem %s m off: too far to correct; calibrate its camera", robot, offset
            )
        elif math.hypot(*offset) < MIN_CHANGE_M:
            self.corrections.pop(robot, None)
            log.info("perceived positions of %s need no correction any more", robot)
        elif robot in self.corrections or len(self.corrections) < MAX_CALIBRATED_ROBOTS:
            self.corrections[robot] = offset
            log.info("perceived positions of %s are off by %s m; candidates correct that", robot, offset)


def _to_tenth_mm(value_m: float) -> float:
    return round(value_m, 4) + 0.0  # no negative zero
