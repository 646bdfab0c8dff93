"""StateFaults: why robot states are unusable, by kind, and in words for whoever looks."""

from __future__ import annotations

import enum
from collections import Counter
from typing import Final

import msgspec

TEXT_S: Final = 1.0
"""The text of a fault that goes on is renewed this often: it is published in every servo tick."""


class FaultKind(enum.StrEnum):
    """Why a robot state is unusable."""

    LENGTHS = "lengths"
    NAMES_TWICE = "names_twice"
    MISSING_JOINTS = "missing_joints"
    NONFINITE = "nonfinite"
    RANGE = "range"
    SPEED = "speed"
    JUMP = "jump"
    ALL_ZERO = "all_zero"
    STAMP_UNSET = "stamp_unset"
    STAMP_REPEATS = "stamp_repeats"
    STAMP_BACKWARDS = "stamp_backwards"
    STAMP_FUTURE = "stamp_future"
    GRIPPER = "gripper"
    """The gripper's joint or width is not finite or outside its stroke."""
    GRIPPER_SILENT = "gripper_silent"
    """No usable reading of the gripper for too long."""


class StateFault(msgspec.Struct, frozen=True):
    """One unusable state."""

    kind: FaultKind
    subject: str
    """What it is about, such as a joint's name: a fault of the same kind and subject goes on."""
    text: str
    of_gripper: bool = False

    def __str__(self) -> str:
        return f"robot state unusable ({self.kind.value}): {self.text}"


class StateFaults:
    """Counts unusable states by kind. One thread adds, any may read."""

    def __init__(self) -> None:
        self.counts: Counter[FaultKind] = Counter()
        self.total = self.believed = 0
        self.last = ""
        """The newest fault, also when states are believed again."""
        self._arm, self._gripper = _Current(), _Current()

    @property
    def current(self) -> str:
        """Why no state is believed now, in words; empty while they are."""
        return self._arm.text or self._gripper.text

    def add(self, fault: StateFault, now_s: float) -> None:
        """Count one unusable state that arrived at `now_s` (steady clock)."""
        self.counts[fault.kind] += 1
        self.total += 1
        current = self._gripper if fault.of_gripper else self._arm
        if current.is_due(fault, now_s):
            current.text = self.last = f"{fault} [{self.counts[fault.kind]} so far]"

    def clear(self, *, of_gripper: bool = False) -> None:
        """A reading of the arm, or the gripper, was believed."""
        if of_gripper:
            self._gripper.text = ""
        else:
            self._arm.text = ""
            self.believed += 1


class _Current:
    """The text of the fault that goes on; in one that goes on, numbers are renewed every `TEXT_S`."""

    def __init__(self) -> None:
        self.text = ""
        self._same: tuple[FaultKind, str] | None = None
        self._renew_s = 0.0

    def is_due(self, fault: StateFault, now_s: float) -> bool:
        """Whether the text is to be that of `fault`: it is another, or was not renewed for long enough."""
        same = (fault.kind, fault.subject)
        if self.text and (fault.kind is FaultKind.GRIPPER_SILENT or (same == self._same and now_s < self._renew_s)):
            return False  # silence follows from what was wrong with the readings
        self._same, self._renew_s = same, now_s + TEXT_S
        return True
