"""Bounds of numbers that come from outside: what SQLite (int64) and every message of ROS (uint64, uint32) can hold.

They are checked where bytes arrive, and in blocks of records. A registry's own rows are not checked against them,
since an older floop may have written larger numbers.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_INT = 2**62
MAX_COUNT = 2**32 - 1
BoundedInt = Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)]
BoundedCount = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
"""Of episodes, ticks and the like."""
WireName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")]
"""Name of a robot, an explorer or a boot in a message from another process."""
WireText = Annotated[str, msgspec.Meta(max_length=1000)]
"""A text for people in a message from another process."""
Secret = Annotated[str, msgspec.Meta(max_length=128)]
"""What a robot showed first, and shows again; empty from an older floop."""
