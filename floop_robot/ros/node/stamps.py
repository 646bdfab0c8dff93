"""Times of messages: nanoseconds to `builtin_interfaces/Time` and back, and headers.

Headers hold ROS time. That is the wall clock, or what `/clock` says where the node's `use_sim_time` is set. Times of
records (who did what, when) are wall-clock times, always: they are compared with those of other days. The steady clock
alone tells ages.
"""

from __future__ import annotations

import time

from builtin_interfaces.msg import Time
from rclpy.clock import Clock
from std_msgs.msg import Header

_NS = 1_000_000_000
_END_NS = 2**31 * _NS


class _RosClock:
    """ROS time of this process: all its nodes have the same."""

    def __init__(self) -> None:
        self.clock: Clock | None = None

    @property
    def simulated(self) -> Clock | None:
        """The clock, where it follows `/clock`. Reading it costs more than the wall clock."""
        return self.clock if self.clock is not None and self.clock.ros_time_is_active else None


_ros = _RosClock()


def follow_clock(clock: Clock | None) -> None:
    """Take ROS time from this clock of a node from now on; None: from the wall clock."""
    _ros.clock = clock


def now_ns() -> int:
    """ROS time now, ns."""
    clock = _ros.simulated
    return time.time_ns() if clock is None else int(clock.now().nanoseconds)


def to_ros_ns(wall_ns: int) -> int:
    """ROS time of a moment of which the wall-clock time is known, ns: right for what happened just now."""
    return wall_ns if _ros.simulated is None else max(0, wall_ns + now_ns() - time.time_ns())


def to_wall_ns(ros_ns: int) -> int:
    """Wall-clock time of a moment of which the ROS time is known, ns; 0, which is no time, stays 0."""
    return ros_ns if _ros.simulated is None or not ros_ns else ros_ns + time.time_ns() - now_ns()


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds as a message; 0 for times that no message holds."""
    sec, nanosec = _split(stamp_ns)
    return Time(sec=sec, nanosec=nanosec)


def time_numbers(wall_ns: int) -> tuple[int, int]:
    """The numbers of a header's stamp for a moment of the wall clock: seconds and nanoseconds of ROS time."""
    return _split(to_ros_ns(wall_ns))


def now_numbers() -> tuple[int, int]:
    """The numbers of a header's stamp, now: seconds and nanoseconds of ROS time."""
    return _split(now_ns())


def _split(stamp_ns: int) -> tuple[int, int]:
    """Seconds and nanoseconds: a message holds seconds as int32, which ends in 2038."""
    return divmod(stamp_ns, _NS) if 0 <= stamp_ns < _END_NS else (0, 0)


def from_time(stamp: Time) -> int:
    """Nanoseconds of a message."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def from_time_numbers(numbers: tuple[int, int]) -> int:
    """Nanoseconds of a message, from its numbers."""
    return numbers[0] * _NS + numbers[1]


def header(frame_id: str = "", stamp_ns: int | None = None) -> Header:
    """A header, stamped now unless `stamp_ns` is given, the wall-clock time of what it is about."""
    return Header(stamp=to_time(now_ns() if stamp_ns is None else to_ros_ns(stamp_ns)), frame_id=frame_id)
