"""The checksum of a row of SQLite, which notices no flipped bit in one."""

from __future__ import annotations

from collections.abc import Sequence

from floop_robot.durable.framing import checksum, pack

CRC_COLUMN = "crc"
"""Column of each checked table; NULL in rows that an earlier floop wrote."""


def row_crc(table: str, values: Sequence[object]) -> int:
    """The CRC-32 of a row's other columns, in their order: None, int, float, str and bytes."""
    try:
        return checksum(pack((table, *values)))
    except OverflowError:  # a damaged number may be larger than any
        return -1


def is_sound(table: str, values: Sequence[object], crc: object) -> bool:
    """Whether a row is as it was written."""
    return crc == row_crc(table, values)
