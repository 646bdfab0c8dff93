"""StateCheck: a state of the arm is believed only when it can be true.

One rule for safety, policy and cell, over ROS and without. What is unusable is counted by kind and named (joint, value,
range); it never reaches a control loop, so the last good state grows stale and the arm stands.

* **Each state by itself**: finite positions inside the joint ranges, speeds that joints can have, a stamp that is set.
* **Against the last believed one**: a later stamp, and no joint farther than it can have moved meanwhile.
* **Believed anew**: after a jump, a clock that was set, a silence, or a start, `SETTLE_STATES` states in a row over
  `SETTLE_S` must agree with each other. The arm was then moved, or its driver restarted: commands begin where it is.
* **All zeros** is also what a driver says that has not connected. It is not believed before a joint moves, a speed or
  an effort is measured, or an operator confirms it.

An arm that stands exactly still is believed for as long as its stamps advance: simulated ones do.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from floop_robot.robot.messages import Joints, Phase
from floop_robot.robot.state_faults import FaultKind, StateFault, StateFaults
from floop_robot.spec.robot_model import RobotModel

RANGE_TOLERANCE_RAD: Final = 0.1
"""How far outside its range a joint may be. Ranges are stated a little inside the arm's own, servos overshoot by up to
0.04 rad, and an arm may lie on its stop; degrees and wrong signs are farther off."""
JUMP_MARGIN_RAD: Final = 0.1
SPEED_FACTOR: Final = 2.0
"""A joint may move this many times faster than the model lets it: a person or a pendant may move the arm."""
MIN_TOP_SPEED_RAD_S: Final = 2.0
"""And at least this fast, since a cautious model states a tenth of what the arm can do."""
MAX_MEASURED_SPEED_RAD_S: Final = 4 * math.pi
"""No joint of such arms turns faster; a larger measured speed is in another unit."""
MAX_TURN_RAD: Final = 7.0
"""No joint of such arms turns farther from zero: a larger number may be an angle in degrees."""
MAX_BURST_S: Final = 0.25
"""States that were held up and come together are apart by their stamps, but by no more than this."""
MAX_GAP_S: Final = 1.0
"""After a longer silence the arm may be anywhere."""
MAX_AHEAD_S: Final = 5.0
"""A stamp may be this far ahead of this host's clock. Behind it may be at will: simulated time is."""
SETTLE_STATES: Final = 5
SETTLE_S: Final = 0.2
VELOCITY_WINDOW_S: Final = 0.04
"""Unknown velocities are the mean over at least this time: short against a policy step, long against jitter."""
GRIPPER_TOLERANCE: Final = 0.25
"""How far beyond its stroke a gripper may be, as a share of it."""

_ROUNDING_S: Final = 1e-6
_MAX_AHEAD_NS: Final = round(MAX_AHEAD_S * 1e9)


class ArmReading(msgspec.Struct, frozen=True):
    """The arm's joints as measured once. NaN velocities and efforts are unknown."""

    q_rad: Joints
    dq_rad_s: Joints
    stamp_ns: int
    mono_s: float
    """Steady-clock time of arrival."""
    effort_nm: Joints = ()
    """Empty where the driver reports none."""


class GripperReading(msgspec.Struct, frozen=True):
    """The gripper as measured once."""

    width_m: float
    effort_n: float
    """NaN where it is unknown."""
    mono_s: float


class StateCheck:
    """Judges the readings of one arm and its gripper, in the order of their arrival. One per thread."""

    def __init__(
        self,
        model: RobotModel,
        faults: StateFaults | None = None,
        names: Sequence[str] = (),
        *,
        reports_effort: bool = True,
        zeros_are_real: bool = False,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`names`: what the driver calls the joints, for texts.

        `reports_effort`: the driver measures the gripper's force. `zeros_are_real`: all zeros is a pose of this arm.
        """
        limits = model.limits
        self.faults = faults or StateFaults()
        self._names = tuple(names or model.joint_names)
        self._lower, self._upper = limits.position_lower_rad, limits.position_upper_rad
        self._low = [q - RANGE_TOLERANCE_RAD for q in self._lower]
        self._high = [q + RANGE_TOLERANCE_RAD for q in self._upper]
        self._speed = [max(SPEED_FACTOR * top, MIN_TOP_SPEED_RAD_S) for top in limits.velocity_rad_s]
        self._measured_speed = [max(SPEED_FACTOR * top, MAX_MEASURED_SPEED_RAD_S) for top in limits.velocity_rad_s]
        self._tops = list(zip(self._speed, self._measured_speed, strict=True))
        self._max_width_m = model.gripper.max_width_m
        self._reports_effort, self._felt = reports_effort, False
        self._zeros_are_real, self._is_confirmed = zeros_are_real, False
        self._wall_clock_ns = wall_clock_ns
        self._last: ArmReading | None = None
        """The last one believed."""
        self._settling = _Settling()
        self._history: deque[tuple[float, Joints]] = deque()
        self.waits_since_s: float | None = None
        """Since when all joints are at zero and nobody confirmed that; None when nothing is to be confirmed."""

    def confirm_zeros(self) -> None:
        """An operator says that all zeros is where the arm is. It holds until the arm is believed."""
        self._is_confirmed = self.waits_since_s is not None

    def take(self, reading: ArmReading, phase: Phase) -> ArmReading | None:
        """The reading with all velocities, if it is believed; None otherwise.

        While the driver is RESETTING, jumps are its own business: nothing is commanded.
        """
        if not self._surely_goes_on(reading):
            if (fault := self._fault(reading)) is not None:
                self._settling.reset()
                self.faults.add(fault, reading.mono_s)
                return None
            if not self._goes_on(reading, phase is Phase.RESETTING) and not self._settles(reading):
                return None
            self._settling.reset()
            self.waits_since_s, self._is_confirmed = None, False
        self._last = reading
        self.faults.clear()
        return reading if math.isfinite(sum(reading.dq_rad_s)) else self._with_velocity(reading)

    def gripper(self, reading: GripperReading, subject: str = "gripper width") -> GripperReading | None:
        """The reading, if it can be true; its effort is NaN unless the gripper measures one.

        A gripper whose effort is exactly zero measures none, until it has reported another.
        """
        width, top = reading.width_m, self._max_width_m
        if not -GRIPPER_TOLERANCE * top <= width <= (1 + GRIPPER_TOLERANCE) * top:
            text = f"{subject} is {width:.4g} m, its range is 0 to {top:g} m"
            self.faults.add(StateFault(FaultKind.GRIPPER, subject, text, True), reading.mono_s)
            return None
        self.faults.clear(of_gripper=True)
        effort = abs(reading.effort_n)
        self._felt = self._felt or 0.0 < effort < math.inf
        known = self._reports_effort and self._felt and effort < math.inf
        return GripperReading(max(width, 0.0), effort if known else math.nan, reading.mono_s)

    def _surely_goes_on(self, reading: ArmReading) -> bool:
        """The same rules in one pass, for nearly all readings; False where one of them needs a closer look."""
        last, size = self._last, len(self._names)
        if last is None or self._settling.newest is not None or len(reading.effort_nm) not in (0, size):
            return False
        time_s = reading.mono_s - last.mono_s
        if not 0.0 <= time_s <= MAX_GAP_S or len(reading.q_rad) != size or len(reading.dq_rad_s) != size:
            return False
        if not last.stamp_ns < reading.stamp_ns <= self._wall_clock_ns() + _MAX_AHEAD_NS:
            return False
        now = zip(reading.q_rad, last.q_rad, reading.dq_rad_s, self._low, self._high, strict=True)
        for (q, old, dq, low, high), (speed, top) in zip(now, self._tops, strict=True):
            if not low <= q <= high or abs(q - old) > JUMP_MARGIN_RAD + speed * time_s or abs(dq) > top:
                return False
        return True

    def _fault(self, reading: ArmReading) -> StateFault | None:
        """What is wrong with a reading by itself."""
        names, size = self._names, len(self._names)
        if len(reading.q_rad) != size or len(reading.dq_rad_s) != size or len(reading.effort_nm) not in (0, size):
            text = f"{len(reading.q_rad)} positions and {len(reading.dq_rad_s)} velocities for {size} joints"
            return StateFault(FaultKind.LENGTHS, "", text)
        for i, (q, low, high) in enumerate(zip(reading.q_rad, self._low, self._high, strict=True)):
            if not low <= q <= high:
                return self._off_range(reading.q_rad, i)
        for name, dq, top in zip(names, reading.dq_rad_s, self._measured_speed, strict=True):
            if abs(dq) > top:  # NaN, which is unknown, is not
                text = f"{name} moves at {dq:.4g} rad/s, its range is {-top:.3g} to {top:.3g} rad/s"
                return StateFault(FaultKind.SPEED, name, text)
        if reading.stamp_ns <= 0:
            return StateFault(FaultKind.STAMP_UNSET, "", "header.stamp is 0; the driver must set it")
        ahead_s = (reading.stamp_ns - self._wall_clock_ns()) * 1e-9
        if ahead_s > MAX_AHEAD_S:
            text = f"header.stamp is {ahead_s:.3g} s ahead of this host's clock, its range is up to {MAX_AHEAD_S:g} s"
            return StateFault(FaultKind.STAMP_FUTURE, "", f"{text}; synchronise the clocks")
        return None

    def _off_range(self, q: Joints, i: int) -> StateFault:
        name = self._names[i]
        if not math.isfinite(q[i]):
            return StateFault(FaultKind.NONFINITE, name, f"{name} is at {q[i]} rad")
        text = f"{name} is at {q[i]:.6g} rad, its range is {self._lower[i]:g} to {self._upper[i]:g} rad"
        degrees = zip(map(math.radians, q), self._low, self._high, strict=True)
        if max(map(abs, q)) > MAX_TURN_RAD and all(low <= x <= high for x, low, high in degrees):
            text += "; these look like degrees"
        return StateFault(FaultKind.RANGE, name, text)

    def _goes_on(self, reading: ArmReading, is_resetting: bool) -> bool:
        """Whether a reading goes on from the last one believed. If not, the reason begins a try to settle anew."""
        last, settling = self._last, self._settling
        if last is None:
            return False
        jumped = settling.cause is not None and settling.cause.kind is FaultKind.JUMP
        if jumped and settling.newest is not None and self._break(settling.newest, reading) is None:
            return False  # it is where the joints jumped to; by now they could have moved there, but they did not
        fault = self._break(last, reading, may_jump=is_resetting and any(reading.q_rad))
        if fault is not None and (settling.cause is None or fault.kind is not FaultKind.JUMP):
            settling.cause = fault
        return fault is None

    def _break(self, before: ArmReading, after: ArmReading, *, may_jump: bool = False) -> StateFault | None:
        """Why `after` does not go on from `before`; None when it does."""
        apart_s = after.mono_s - before.mono_s
        by_stamp_s = (after.stamp_ns - before.stamp_ns) * 1e-9
        if by_stamp_s == 0.0:
            return StateFault(FaultKind.STAMP_REPEATS, "", f"header.stamp repeats {_seconds(after.stamp_ns)}")
        if by_stamp_s < 0.0:
            text = f"header.stamp runs backwards from {_seconds(before.stamp_ns)} to {_seconds(after.stamp_ns)}"
            return StateFault(FaultKind.STAMP_BACKWARDS, "", text)
        if apart_s > MAX_GAP_S:
            return _SILENCE
        if may_jump:
            return None
        time_s = max(apart_s, min(by_stamp_s, apart_s + MAX_BURST_S))
        for i, (old, new, top) in enumerate(zip(before.q_rad, after.q_rad, self._speed, strict=True)):
            if abs(new - old) > JUMP_MARGIN_RAD + top * time_s:
                return self._jump(i, old, new, time_s)
        return None

    def _jump(self, i: int, old: float, new: float, time_s: float) -> StateFault:
        name, reach = self._names[i], JUMP_MARGIN_RAD + self._speed[i] * time_s
        text = (
            f"{name} jumps to {new:.6g} rad within {time_s:.3g} s, its range from where it was is "
            f"{old - reach:.4g} to {old + reach:.4g} rad"
        )
        return StateFault(FaultKind.JUMP, name, text)

    def _settles(self, reading: ArmReading) -> bool:
        """Whether this reading and those before it agree for long enough to begin anew."""
        settling, now_s = self._settling, reading.mono_s
        fault = self._break(settling.newest, reading) if settling.newest is not None else _SILENCE
        if fault is not None and fault.kind is FaultKind.STAMP_REPEATS:
            self.faults.add(fault, now_s)
            return False  # nothing new
        settling.agree(reading, fault)
        if (why := settling.cause or fault) is not None and why is not _SILENCE:
            self.faults.add(why, now_s)
        if settling.count < SETTLE_STATES or now_s - settling.since_s < SETTLE_S - _ROUNDING_S:
            return False
        if not self._zeros_are_real and not self._is_confirmed and _is_all_zero(reading):
            self.waits_since_s = settling.since_s
            self.faults.add(_ALL_ZERO, now_s)
            return False
        self._history.clear()
        return True

    def _with_velocity(self, reading: ArmReading) -> ArmReading:
        """Unknown velocities: the mean since the newest reading that is `VELOCITY_WINDOW_S` old, or the oldest."""
        history, now_s = self._history, reading.mono_s
        if history and now_s - history[-1][0] > MAX_BURST_S:
            history.clear()
        history.append((now_s, reading.q_rad))
        while len(history) > 2 and history[1][0] <= now_s - VELOCITY_WINDOW_S:
            history.popleft()
        since_s, old = history[0]
        time_s = max(now_s - since_s, VELOCITY_WINDOW_S)
        known = zip(reading.dq_rad_s, old, reading.q_rad, self._speed, strict=True)
        dq = [v if math.isfinite(v) else min(max((b - a) / time_s, -top), top) for v, a, b, top in known]
        return msgspec.structs.replace(reading, dq_rad_s=tuple(dq))


class StateTicks:
    """Numbers the states that are believed. Numbers fall after a silence: commands then begin where the arm is."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s, self._last_s = silence_s, -math.inf
        self._tick = self._silences = 0

    def next(self, now_s: float) -> int:
        """The number of the state that arrived at `now_s`."""
        is_first = self._last_s == -math.inf
        if not is_first and now_s - self._last_s > self._silence_s:
            self._silences += 1
            self._tick = -self._silences
        else:
            self._tick += 1
        self._last_s = now_s
        return self._tick


class _Settling:
    """Readings that agree with each other, and not with the last one believed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.newest: ArmReading | None = None
        self.count, self.since_s = 0, 0.0
        self.cause: StateFault | None = None
        """Why the first of them did not go on from the last one believed."""

    def agree(self, reading: ArmReading, fault: StateFault | None) -> None:
        """One more; the first of others where a `fault` says that it does not agree."""
        if fault is not None:
            self.count, self.since_s = 0, reading.mono_s
        self.newest = reading
        self.count += 1


_SILENCE: Final = StateFault(FaultKind.JUMP, "", "silence")
"""No fault of a state, and never counted: nothing is known before it, so that it must settle as after a jump."""
_ALL_ZERO: Final = StateFault(
    FaultKind.ALL_ZERO,
    "",
    "all joints are at exactly 0 rad, as before a driver has connected; move the arm, or call confirm_joint_states",
)


def _is_all_zero(reading: ArmReading) -> bool:
    """Nothing is measured: no position, velocity or effort differs from zero."""
    known = (x for values in (reading.q_rad, reading.dq_rad_s, reading.effort_nm) for x in values if x == x)
    return not any(known)


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns * 1e-9:.3f} s"
