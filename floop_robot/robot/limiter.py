"""SafetyLimiter: turns any joint targets into joint commands that never leave the limits.

It works in two steps. *Accepting* a target makes it legal: finite, inside the joint range, reachable at legal speed,
TCP inside the box. *Following* moves the command there at servo rate: it interpolates over one target period within the
acceleration limits, and comes to rest on the target when no new one arrives.

Why it is safe: every command has a *stop path*, on which all joints brake together as hard as allowed. A command is
issued only if it and its stop path stay inside the joint range and the TCP box. Otherwise the next point of the last
stop path is issued, which was checked before. So there is always a legal next command; at worst the arm stands still.

Acceleration limits alone are not counted as an intervention. Changing the target, or braking instead of following, is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from floop_robot.robot.bounds import SLACK, Bounds
from floop_robot.robot.braking import arrival_speed, braked, stop_time, stop_times, ticks_to_stop
from floop_robot.robot.kinematics import Kinematics
from floop_robot.robot.messages import Cause, Joints
from floop_robot.spec.robot_model import RobotModel

HALVINGS = 5
"""Bisections: a target outside the box is pulled back along its path to within 1/32 of the way to the wall."""

STANDING_RAD_S = 1e-6
"""Speeds below this are rounding."""


def ticks_of(servo_rate_hz: float, policy_rate_hz: float) -> int:
    """Servo ticks per policy period, rounded up, so that the arm does not stop before the next target."""
    return max(1, math.ceil(servo_rate_hz / policy_rate_hz - 1e-9))  # ignores rounding errors


class LimitedCommand(msgspec.Struct, frozen=True, gc=False):
    """The joint command of one servo tick."""

    q: Joints
    dq: Joints
    cause: Cause
    """Why this tick does not simply follow the target; `Cause.NONE` when it does."""

    @property
    def intervened(self) -> bool:
        """Whether the limiter changed the target, or braked instead."""
        return self.cause is not Cause.NONE

    @property
    def stands(self) -> bool:
        """Whether the command is at rest."""
        return min(self.dq) > -STANDING_RAD_S and max(self.dq) < STANDING_RAD_S


class SafetyLimiter:
    """Follows joint targets within position, velocity, acceleration and TCP-box limits. One per thread.

    Call `reset` with where the arm is, then `step` once per servo tick. Deterministic: no clock, no randomness.
    `ticks_per_target` is the number of servo ticks per target (`ticks_of` the two rates).
    """

    def __init__(self, model: RobotModel, servo_rate_hz: float, ticks_per_target: int = 4) -> None:
        limits = model.limits
        self._kinematics = Kinematics(model)
        self._levers = self._kinematics.levers
        self._bounds = Bounds(limits)
        self._dt = dt = 1.0 / servo_rate_hz
        self._ticks_per_target = ticks_per_target
        self._speed = [v * (1 - SLACK) for v in limits.velocity_rad_s]
        self._gain = [a * dt * (1 - SLACK) for a in limits.acceleration_rad_s2]
        # How far a target may be: one period at full speed, and the distance to brake from full speed.
        period = dt * self._ticks_per_target
        self._reach = [v * period + v * v * dt / (2 * gain) for v, gain in zip(self._speed, self._gain, strict=True)]
        self.reset(model.home_rad)

    def reset(self, q: Sequence[float], dq: Sequence[float] | None = None) -> None:
        """Start from joint positions `q` (rad) and velocities `dq` (rad/s), even outside the limits (`Bounds`)."""
        speeds = zip(dq or (0.0,) * len(q), self._speed, strict=True)
        self._q: Joints = tuple(map(float, q))
        self._v: Joints = tuple([min(max(float(v), -top), top) for v, top in speeds])
        self._target: Joints = ()
        self._accepted = self._q
        self._ticks_left = 0
        self._cause = Cause.NONE
        times = [0.0, *stop_times(ticks_to_stop(self._v, self._gain), self._dt)]
        path = [_along(self._q, self._v, t) for t in times]
        self._bounds.hold(path, [self._kinematics.position(p) for p in path])

    @property
    def q(self) -> Joints:
        """Commanded joint positions, rad."""
        return self._q

    @property
    def accepted(self) -> Joints:
        """The target that is followed, after limiting, rad."""
        return self._accepted

    def step(self, target: Sequence[float]) -> LimitedCommand:
        """One servo tick towards `target` (rad, one per joint), which may be anything."""
        target = tuple(target)
        if target != self._accepted or target != self._target:
            if len(target) != len(self._q) or not math.isfinite(sum(target)):
                return self.stop(Cause.NONFINITE)
            self._accept(target)
        v = self._followed()
        q = _along(self._q, v, self._dt)
        if self._may_go(q, v):
            return self._issue(q, v, self._cause)
        return self._brake(self._cause if self._cause is not Cause.NONE else Cause.WORKSPACE)

    def stop(self, cause: Cause) -> LimitedCommand:
        """One servo tick of braking as hard as allowed, then of standing."""
        command = self._brake(cause)
        self._target, self._accepted = (), self._q
        return command

    def freeze(self, cause: Cause) -> LimitedCommand:
        """Stop at once, for an e-stop: the only command that may exceed the acceleration limit.

        The arm brakes as hard as its own controller can.
        """
        self._target, self._accepted = (), self._q
        return self._issue(self._q, (0.0,) * len(self._q), cause)

    def _brake(self, cause: Cause) -> LimitedCommand:
        v = braked(self._v, self._gain)
        return self._issue(_along(self._q, v, self._dt), v, cause)

    def _issue(self, q: Joints, v: Joints, cause: Cause) -> LimitedCommand:
        self._q, self._v = q, v
        command = LimitedCommand(q, v, cause)
        if self._bounds.widened and command.stands:
            self._v = (0.0,) * len(q)
            self._bounds.hold([q], [self._kinematics.position(q)])
        return command

    def _accept(self, target: Joints) -> None:
        """Make `target` legal and note why it was changed."""
        if target != self._target:
            self._target, self._ticks_left = target, self._ticks_per_target
        legal = self._bounds.clip(target)
        self._cause = Cause.NONE if legal == target else Cause.POSITION
        share = 1.0
        for t, q, reach in zip(legal, self._q, self._reach, strict=True):
            if abs(t - q) * share > reach:
                share = reach / abs(t - q)
        if share < 1.0:
            legal, self._cause = _between(self._q, legal, share), Cause.VELOCITY
        if self._bounds.room(self._kinematics.position(legal)) < 0.0:
            legal, self._cause = self._into_box(legal), Cause.WORKSPACE
        self._accepted = legal

    def _into_box(self, target: Joints) -> Joints:
        """The farthest point found on the way to `target` whose TCP is inside the box."""
        good, bad = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (good + bad) / 2
            if self._bounds.room(self._kinematics.position(_between(self._q, target, middle))) < 0.0:
                bad = middle
            else:
                good = middle
        return _between(self._q, target, good)

    def _followed(self) -> Joints:
        """Velocities of the next tick on the way to the accepted target.

        All joints share one pace and one acceleration factor, so that the TCP moves almost on a straight line.
        """
        dt, gains, left = self._dt, self._gain, self._ticks_left
        self._ticks_left = max(1, left - 1)
        distances = [target - q for target, q in zip(self._accepted, self._q, strict=True)]
        pace = 1.0 / (max(1, left) * dt)
        for distance, gain, top in zip(distances, gains, self._speed, strict=True):
            length = abs(distance)
            if length * pace > gain:
                cap = min(arrival_speed(distance, gain, dt), top)
                if length * pace > cap:
                    pace = cap / length
        changes = [distance * pace - v for distance, v in zip(distances, self._v, strict=True)]
        slow_down = max(1.0, ticks_to_stop(changes, gains))
        return tuple([v + change / slow_down for v, change in zip(self._v, changes, strict=True)])

    def _may_go(self, q: Joints, v: Joints) -> bool:
        """Whether `q` and its stop path stay inside the joint range and keep the TCP inside the box."""
        place, bounds = self._kinematics.position(q), self._bounds
        room = bounds.room(place)
        if room < 0.0:
            return False
        ticks = ticks_to_stop(v, self._gain)
        if ticks < 1.0:
            return bounds.allows(q)
        time_s = stop_time(ticks, self._dt, int(ticks))
        end = _along(q, v, time_s)
        if not bounds.allows(end):  # `q` itself lies between the last command and `end`
            return False
        travel = time_s * sum([abs(x) * lever for x, lever in zip(v, self._levers, strict=True)])
        if travel <= room:
            return True
        # The path is straight in joint space; it leaves its chord by at most |second derivative| / 8.
        room = min(room, bounds.room(self._kinematics.position(end)))
        if room >= time_s * sum(map(abs, v)) * travel / 8.0:
            return True
        path = (_along(q, v, t) for t in stop_times(ticks, self._dt))
        return room >= 0.0 and all(bounds.room(self._kinematics.position(p)) >= 0.0 for p in path)


def _along(q: Joints, v: Joints, time_s: float) -> Joints:
    return tuple([x + y * time_s for x, y in zip(q, v, strict=True)])


def _between(start: Joints, end: Joints, share: float) -> Joints:
    return tuple([a + (b - a) * share for a, b in zip(start, end, strict=True)])
