"""RefusedRecords: what ingest did not take as it came, by robot, for people to see."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict

log = logging.getLogger(__name__)

MAX_NOTES = 32
"""Robots with a note, the one heard last stays: names can be made up."""
SAID_EVERY_S = 10.0
"""A fault that lasts is logged as often for each robot."""


class RefusedRecords:
    """Counts and the latest line for each robot; for one thread, `notes` from any."""

    def __init__(self) -> None:
        self.out_of_range = self.conflicts = 0
        self._notes: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._said_s: dict[tuple[str, str], float] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def range_faults(self, robot: str, faults: dict[int, str]) -> None:
        """Records of a robot, by key, that hold what its task does not allow."""
        self.out_of_range += len(faults)
        seq, fault = next(iter(faults.items()))
        self._note(
            (robot, "out of range"),
            len(faults),
            "{count} records of {robot} out of range were left out, last seq {seq}: {fault}; "
            "check its sensors and units",
            robot=robot,
            seq=seq,
            fault=fault,
        )

    def conflict(self, robot: str, boot_id: str) -> None:
        """A sender has other records under keys that are stored."""
        self.conflicts += 1
        self._note(
            (robot, "conflict"),
            1,
            "{count} times another spool sent other records under the keys of {robot} (boot {boot_id}): it was copied "
            "or restored, and goes on under a new boot; if two robots run with it, rename one",
            robot=robot,
            boot_id=boot_id,
        )

    def block(self, robot: str, reason: str) -> None:
        """A whole block that can never be taken as it is; its sender puts events in its place."""
        self._note(
            (robot, "block"),
            1,
            "{count} times a block of {robot} was refused: {reason}; if its floop is of another version, upgrade it",
            robot=robot,
            reason=reason,
        )

    def stranger(self, robot: str, why: str) -> None:
        """Somebody wanted to record as a robot that it is not."""
        self._note((robot, "stranger"), 1, "{count} times nothing was recorded as {robot}: {why}", robot=robot, why=why)

    def notes(self) -> tuple[str, ...]:
        """One line for each robot and kind, oldest first."""
        return tuple(self._notes.copy().values())

    def _note(self, key: tuple[str, str], count: int, text: str, **values: object) -> None:
        self._counts[key] = self._counts.get(key, 0) + count
        line = text.format(count=self._counts[key], **values)
        self._notes[key] = line
        self._notes.move_to_end(key)
        while len(self._notes) > MAX_NOTES:
            oldest, _ = self._notes.popitem(last=False)
            self._counts.pop(oldest, None)
            self._said_s.pop(oldest, None)
        if (now_s := time.monotonic()) - self._said_s.get(key, -SAID_EVERY_S) >= SAID_EVERY_S:
            self._said_s[key] = now_s
            log.warning("%s", line)
