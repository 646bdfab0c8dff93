"""Bounds of numbers that come from outside: what SQLite (int64) and every message of ROS (uint64, uint32) can hold.

They belong where something arrives. What is read back from a disk is not held to them: it may be older than they are.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

LARGEST = 2**62
LARGEST_COUNT = 2**32 - 1
Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)]
"""Of episodes, ticks and the like."""
