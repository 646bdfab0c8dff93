"""Watchdog: decides from the ages of state and target how safety reacts; a pure function."""

from __future__ import annotations

from typing import Final

import msgspec

from floop_robot.robot.messages import Cause, SafetyMode

CLOCK_SKEW_S: Final = 0.005
"""A stamp this far ahead is accepted: steady clocks of two cores differ. One further ahead counts as stale."""


class WatchdogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Ages at which safety reacts. For comparison: MoveIt Servo drops commands after 0.1 s, UR stops after 0.04 s."""

    observation_timeout_s: float
    """A robot state older than this is stale: controlled stop."""
    hold_after_s: float
    """Age at which a target is late: the arm still moves to it, and holds there."""
    stop_after_s: float
    """Age at which a target is dropped: the arm brakes at once."""

    @classmethod
    def of(cls, policy_rate_hz: float, observation_timeout_s: float) -> WatchdogSettings:
        """Hold after one policy period without a target, stop after three."""
        period_s = 1.0 / policy_rate_hz
        return cls(observation_timeout_s=observation_timeout_s, hold_after_s=period_s, stop_after_s=3 * period_s)


class Reaction(msgspec.Struct, frozen=True):
    """What to do in this tick, and why it is not following if it isn't."""

    mode: SafetyMode
    cause: Cause = Cause.NONE


def react(settings: WatchdogSettings, estop: bool, state_age_s: float | None, target_age_s: float | None) -> Reaction:
    """The reaction to the ages of the newest robot state and target, s; None: none has arrived yet."""
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
