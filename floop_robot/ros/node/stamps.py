"""Times of messages: wall-clock nanoseconds to `builtin_interfaces/Time` and back, and headers."""

from __future__ import annotations

import time

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

_NS = 1_000_000_000


def to_time(stamp_ns: int) -> Time:
    """Wall-clock ns since the epoch as a message."""
    return Time(sec=stamp_ns // _NS, nanosec=stamp_ns % _NS)


def time_numbers(stamp_ns: int) -> tuple[int, int]:
    """The numbers of such a message: seconds and nanoseconds."""
    return divmod(stamp_ns, _NS)


def from_time(stamp: Time) -> int:
    """Wall-clock ns since the epoch."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def from_time_numbers(numbers: tuple[int, int]) -> int:
    """Wall-clock ns since the epoch."""
    return numbers[0] * _NS + numbers[1]


def header(frame_id: str = "", stamp_ns: int | None = None) -> Header:
    """A header, stamped now unless `stamp_ns` is given."""
    return Header(stamp=to_time(time.time_ns() if stamp_ns is None else stamp_ns), frame_id=frame_id)
