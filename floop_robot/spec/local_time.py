"""Stamps as people read them."""

from __future__ import annotations

from datetime import datetime

from floop_robot.spec.wall_clock import is_plausible


def local_time(stamp_ns: int) -> str:
    """Wall-clock nanoseconds as date, local time and its offset from UTC: `2026-05-30 09:46:58+02:00`."""
    if not is_plausible(stamp_ns):
        return "at an unknown time"
    return datetime.fromtimestamp(stamp_ns // 1_000_000_000).astimezone().isoformat(" ", "seconds")
