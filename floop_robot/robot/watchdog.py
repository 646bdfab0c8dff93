"""Watchdog: from ages to a reaction, as a pure function; and the latch of the stop button.

The software stop is no safety function in the sense of ISO 13849: the robot's own emergency stop is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from floop_robot.robot.messages import Cause, SafetyMode, SafetyOrder
from floop_robot.spec.folders import sync_folder

CLOCK_SKEW_S: Final = 0.005
"""A stamp this far ahead is accepted: steady clocks of two cores. What is further ahead is nonsense, hence stale."""


class WatchdogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When the safety process stops waiting. MoveIt Servo drops commands older than 0.1 s, UR stops after 0.04 s."""

    observation_timeout_s: float
    """A robot state older than this is stale: controlled stop."""
    hold_after_s: float
    """Age at which a target is late: the arm comes to a stand on it, as it would have."""
    stop_after_s: float
    """Age at which a target is given up: the arm brakes where it is."""

    @classmethod
    def of(cls, policy_rate_hz: float, observation_timeout_s: float) -> WatchdogSettings:
        """Hold as soon as a target is one policy period old, give it up after three."""
        period_s = 1.0 / policy_rate_hz
        return cls(observation_timeout_s=observation_timeout_s, hold_after_s=period_s, stop_after_s=3 * period_s)


class Reaction(msgspec.Struct, frozen=True):
    """What to do in this tick, and why if it is not to follow."""

    mode: SafetyMode
    cause: Cause = Cause.NONE


def react(settings: WatchdogSettings, estop: bool, state_age_s: float | None, target_age_s: float | None) -> Reaction:
    """The reaction to the ages of the newest robot state and target; None: there is none yet."""
    if estop:
        return Reaction(SafetyMode.ESTOP, Cause.ESTOP)
    if state_age_s is None:
        return Reaction(SafetyMode.WAITING)
    if not -CLOCK_SKEW_S <= state_age_s <= settings.observation_timeout_s:
        return Reaction(SafetyMode.STOPPING, Cause.STALE_STATE)
    if target_age_s is None:
        return Reaction(SafetyMode.HOLDING)
    if not -CLOCK_SKEW_S <= target_age_s <= settings.stop_after_s:
        return Reaction(SafetyMode.STOPPING, Cause.LATE_TARGET)
    if target_age_s >= settings.hold_after_s:
        return Reaction(SafetyMode.HOLDING)
    return Reaction(SafetyMode.FOLLOWING)


class StopLatch:
    """The software stop: any stop order latches it, only an explicit release opens it.

    With a `path` it outlives its process: a safety process that is killed and started again is still stopped.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.is_set = path is not None and path.exists()
        self.reason = self._kept_reason() if self.is_set else ""
        self._kept: bool | None = self.is_set
        """What the file says; None: nobody knows, since writing it failed half-way."""
        self.stops = 0
        """Stops that were ordered from this process, also while it was stopped."""

    def _kept_reason(self) -> str:
        try:
            kept = self._path.read_text(encoding="utf-8").strip() if self._path else ""
        except (OSError, UnicodeDecodeError):
            kept = ""  # its being there is what counts
        return kept or "stopped before this process started"

    def take(self, order: SafetyOrder) -> None:
        """Obey a stop or a release. The first stop's reason is kept until the release."""
        if order.stop:
            self.stops += 1
            if not self.is_set:
                self.is_set, self.reason = True, f"stopped by {order.who}{': ' + order.why if order.why else ''}"
        elif order.after in (None, self.stops):
            self.is_set, self.reason = False, ""

    @property
    def is_kept(self) -> bool:
        """Whether the latch as it is now would outlive this process."""
        return self._path is None or self._kept == self.is_set

    def keep(self) -> None:
        """Write the latch down if it changed; after the arm was told, since a disk may be slow. Raises OSError.

        A release is forgotten at worst, which leaves the arm stopped.
        """
        if self._path is None or self.is_kept:
            return
        self._kept = None
        if self.is_set:
            with self._path.open("w", encoding="utf-8") as file:
                file.write(self.reason + "\n")
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._path.parent)  # a stop outlives a power cut, too
        else:
            self._path.unlink(missing_ok=True)
        self._kept = self.is_set
