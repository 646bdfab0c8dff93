"""SafetyLimiter: from joint targets to joint commands that never leave the limits, whatever the targets are.

Two layers. *Accepting* a target makes it legal: finite, inside the joint range, within reach at legal speed, TCP inside
the box. *Following* it moves the command there at servo rate: straight interpolation over one target period, bent only
by acceleration and by braking in time, so it arrives without overshoot and stands when no new target comes.

Why it is safe: every command has a *stop path*, in which each joint brakes as hard as it may until it stands. A command
is issued only if its own stop path stays inside the joint range and the TCP box; otherwise the next point of the last
stop path is issued, which was checked before. So there is always a legal next command.

Bending by acceleration is what every follower does and is no intervention; replacing the target, or braking instead of
following it, is. Cost and adversarial tests: `benchmarks` and tests/robot/test_limiter.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from floop_robot.robot.kinematics import Kinematics, Vec3
from floop_robot.robot.messages import Cause, Joints
from floop_robot.spec.robot_model import RobotModel

SLACK = 1e-9
"""Limits are kept this much inside, so that rounding never shows as a violation."""
HALVINGS = 5
"""A target outside the box is pulled back along its path to within 1/32 of the way to the wall."""


class LimitedCommand(msgspec.Struct, frozen=True, gc=False):
    """What the driver should do in this servo tick."""

    q: Joints
    dq: Joints
    cause: Cause
    """Why this tick is not plain following of the target; `Cause.NONE` when it is."""

    @property
    def intervened(self) -> bool:
        """Whether the limiter changed what was asked for."""
        return self.cause is not Cause.NONE


class SafetyLimiter:
    """Follows joint targets within position, velocity, acceleration and TCP-box limits. One per thread.

    Call `reset` with where the arm is, then `step` once per servo tick. Deterministic: no clock, no randomness.
    """

    def __init__(self, model: RobotModel, servo_rate_hz: float, ticks_per_target: int = 4) -> None:
        limits = model.limits
        self._kinematics = Kinematics(model)
        self._dt = 1.0 / servo_rate_hz
        self._ticks_per_target = max(1, ticks_per_target)
        self._speed = tuple(v * (1 - SLACK) for v in limits.velocity_rad_s)
        self._gain = tuple(a * self._dt * (1 - SLACK) for a in limits.acceleration_rad_s2)
        """Largest change of velocity in one tick, rad/s."""
        period = self._dt * self._ticks_per_target
        self._reach = tuple(
            v * period + v * v / (2 * a) for v, a in zip(self._speed, limits.acceleration_rad_s2, strict=True)
        )
        """What can be asked for without exceeding speed: a period at full speed and the lag of braking from it."""
        self._range = tuple(
            (low + SLACK, high - SLACK)
            for low, high in zip(limits.position_lower_rad, limits.position_upper_rad, strict=True)
        )
        self._box = tuple(
            (low + SLACK, high - SLACK)
            for low, high in zip(limits.workspace_low_m, limits.workspace_high_m, strict=True)
        )
        self._levers = _levers(self._kinematics)
        self.reset(model.home_rad)

    def reset(self, q: Sequence[float], dq: Sequence[float] | None = None) -> None:
        """Start from joint positions `q` (rad) and velocities `dq` (rad/s).

        Where the arm starts outside the limits, they are widened to hold it and its stop path, and shrink as it comes
        back: it may move inwards or stand, never further out.
        """
        self._q: Joints = tuple(map(float, q))
        speeds = zip(dq or (0.0,) * len(self._q), self._speed, strict=True)
        self._v: Joints = tuple(min(max(float(v), -top), top) for v, top in speeds)
        self._target: Joints = ()
        self._accepted = self._q
        self._ticks_left = 0
        self._cause = Cause.NONE
        path = [self._q, *self._stop_path(self._q, self._v)]
        self._range_now = tuple(
            (min(low, *(p[i] for p in path), low), max(high, *(p[i] for p in path), high))
            for i, (low, high) in enumerate(self._range)
        )
        places = [self._kinematics.position(p) for p in path]
        self._box_now = tuple(
            (min(low, *(p[k] for p in places), low), max(high, *(p[k] for p in places), high))
            for k, (low, high) in enumerate(self._box)
        )
        self._widened = self._range_now != self._range or self._box_now != self._box

    @property
    def q(self) -> Joints:
        """Commanded joint positions, rad."""
        return self._q

    @property
    def accepted(self) -> Joints:
        """The target that is really followed, after everything illegal was taken out of it, rad."""
        return self._accepted

    def step(self, target: Sequence[float]) -> LimitedCommand:
        """One servo tick towards `target` (rad, one per joint), wherever and whatever that is."""
        target = tuple(target)
        if target != self._target or self._accepted != target:
            if not _usable(target, len(self._q)):
                return self.stop(Cause.NONFINITE)
            self._accept(target)
        q, v = self._follow()
        cause = self._cause
        if not self._stop_is_safe(q, v):
            q, v = self._braked()
            cause = Cause.WORKSPACE
        return self._issue(q, v, cause)

    def stop(self, cause: Cause) -> LimitedCommand:
        """One servo tick of braking as hard as allowed; once it stands, it keeps standing."""
        q, v = self._braked()
        self._target, self._accepted = (), q
        return self._issue(q, v, cause)

    def _issue(self, q: Joints, v: Joints, cause: Cause) -> LimitedCommand:
        self._q, self._v = q, v
        if self._widened and not any(v):
            self._shrink()
        return LimitedCommand(q, v, cause)

    def _shrink(self) -> None:
        """Standing still, forget as much of the widening as the arm has left behind."""
        self._range_now = tuple(
            (min(low, x), max(high, x)) for (low, high), x in zip(self._range, self._q, strict=True)
        )
        place = self._kinematics.position(self._q)
        self._box_now = tuple((min(low, x), max(high, x)) for (low, high), x in zip(self._box, place, strict=True))
        self._widened = self._range_now != self._range or self._box_now != self._box

    def _accept(self, target: Joints) -> None:
        """Make `target` legal; remembers why it had to be changed."""
        if target != self._target:
            self._target, self._ticks_left = target, self._ticks_per_target
        self._cause = Cause.NONE
        legal = tuple(min(max(t, low), high) for t, (low, high) in zip(target, self._range_now, strict=True))
        if legal != target:
            self._cause = Cause.POSITION
        share = 1.0
        for t, q, reach in zip(legal, self._q, self._reach, strict=True):
            distance = abs(t - q)
            if distance > reach:
                share = min(share, reach / distance)
        if share < 1.0:
            self._cause = Cause.VELOCITY
            legal = self._towards(legal, share)
        if not self._inside(self._kinematics.position(legal)):
            self._cause = Cause.WORKSPACE
            legal = self._into_box(legal)
        self._accepted = legal

    def _into_box(self, target: Joints) -> Joints:
        """The farthest checked point on the way to `target` whose TCP is inside the box."""
        good, bad = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (good + bad) / 2
            if self._inside(self._kinematics.position(self._towards(target, middle))):
                good = middle
            else:
                bad = middle
        return self._towards(target, good)

    def _towards(self, target: Joints, share: float) -> Joints:
        return tuple(q + (t - q) * share for t, q in zip(target, self._q, strict=True))

    def _follow(self) -> tuple[Joints, Joints]:
        """Next positions and velocities on the way to the accepted target; arrives without overshoot."""
        dt, left = self._dt, self._ticks_left
        self._ticks_left = left - 1 if left > 1 else 1
        pace = 1.0 / (left * dt) if left > 1 else math.inf
        positions, velocities = [], []
        for target, q, v, gain, top in zip(self._accepted, self._q, self._v, self._gain, self._speed, strict=True):
            distance = target - q
            length = abs(distance)
            # Fastest speed from which braking by `gain` per tick still ends on the target, exactly, in discrete time.
            units = length / (gain * dt)
            whole = int((math.sqrt(1.0 + 8.0 * units) - 1.0) / 2.0)
            wanted = gain * (units / (whole + 1) + whole / 2)
            if left > 1 and length * pace < wanted:
                wanted = length * pace
            if wanted > top:
                wanted = top
            if distance < 0.0:
                wanted = -wanted
            if wanted > v + gain:
                wanted = v + gain
            elif wanted < v - gain:
                wanted = v - gain
            velocities.append(wanted)
            positions.append(q + wanted * dt)
        return tuple(positions), tuple(velocities)

    def _braked(self) -> tuple[Joints, Joints]:
        """The next point of the current stop path."""
        velocities = tuple(
            v - gain if v > gain else v + gain if v < -gain else 0.0
            for v, gain in zip(self._v, self._gain, strict=True)
        )
        return tuple(q + v * self._dt for q, v in zip(self._q, velocities, strict=True)), velocities

    def _stop_path(self, q: Joints, v: Joints) -> list[Joints]:
        """Joint positions, tick by tick, of braking from (q, v) until every joint stands."""
        dt, path = self._dt, []
        while any(v):
            v = tuple(
                x - gain if x > gain else x + gain if x < -gain else 0.0 for x, gain in zip(v, self._gain, strict=True)
            )
            q = tuple(a + b * dt for a, b in zip(q, v, strict=True))
            path.append(q)
        return path

    def _stop_is_safe(self, q: Joints, v: Joints) -> bool:
        """Whether `q` and its stop path keep the TCP inside the box.

        The joint range needs no check: the target lies inside it, and following brakes for the target in time.
        """
        place = self._kinematics.position(q)
        if not self._inside(place):
            return False
        room = min(min(x - low, high - x) for x, (low, high) in zip(place, self._box_now, strict=True))
        travel = sum(
            x * x * self._dt / (2.0 * gain) * lever for x, gain, lever in zip(v, self._gain, self._levers, strict=True)
        )
        if travel <= room:
            return True
        return all(self._inside(self._kinematics.position(p)) for p in self._stop_path(q, v))

    def _inside(self, place: Vec3) -> bool:
        (x0, x1), (y0, y1), (z0, z1) = self._box_now
        x, y, z = place
        return x0 <= x <= x1 and y0 <= y <= y1 and z0 <= z <= z1


def _usable(target: Joints, size: int) -> bool:
    return len(target) == size and all(map(math.isfinite, target))


def _levers(kinematics: Kinematics) -> tuple[float, ...]:
    """Per joint, a length that the TCP can't be farther from its axis than, m: the links beyond it, stretched out."""
    chain = kinematics.chain
    lengths = [math.dist((0, 0, 0), origin[:3, 3]) for origin in chain.origins[1:]]
    lengths.append(math.dist((0, 0, 0), chain.tip[:3, 3]))
    return tuple(sum(lengths[i:]) for i in range(len(lengths)))
