"""LoopWaits: what the loop waits for between the shift and the improvement, so that a slow run says why. Pure.

At each look at the fleet the loop waits for one part:

* the gate, while a trial runs;
* the learner, while it has gradient steps to do;
* else the explorers, whose rows the learner has used up.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from floop_robot.demo.snapshot import Snapshot
from floop_robot.learn.status import LearnerState

PARTS = ("explorers", "learner", "gate")


class PartWait(msgspec.Struct, frozen=True):
    """How long the loop waited for one part, and the pace of that part over the whole time."""

    share: float
    """Of the looks; the shares of all parts add up to 1."""
    per_s: float
    """Rows of explorers, gradient steps of the learner, episodes of the gate: each a second of wall time."""


class LoopWaits:
    """Gets a snapshot at each look, with the time in seconds of a steady clock."""

    def __init__(self) -> None:
        self._looks: Counter[str] = Counter()
        self._first: tuple[float, dict[str, int]] | None = None
        self._last: tuple[float, dict[str, int]] | None = None

    def note(self, now_s: float, snapshot: Snapshot) -> None:
        """Take in one look at the fleet."""
        self._last = now_s, _done(snapshot)
        if self._first is None:
            self._first = self._last
        self._looks[_waits_for(snapshot)] += 1

    @property
    def parts(self) -> dict[str, PartWait]:
        """Share and pace of each part; empty before the first look."""
        if self._first is None or self._last is None:
            return {}
        (begin_s, before), (end_s, after) = self._first, self._last
        # A process that was restarted counts from 0 again: its pace is then what it did since.
        done = {part: after[part] - before[part] if after[part] >= before[part] else after[part] for part in PARTS}
        looks = sum(self._looks.values())
        span_s = max(end_s - begin_s, 1e-6)
        return {part: PartWait(self._looks[part] / looks, done[part] / span_s) for part in PARTS}


def waits_line(parts: dict[str, PartWait]) -> str:
    """What limited the loop most, in one line; empty without any look."""
    if not parts:
        return ""
    units = {"explorers": "rows", "learner": "gradient steps", "gate": "episodes"}
    ordered = sorted(PARTS, key=lambda part: -parts[part].share)
    told = [f"the {part} {parts[part].share:.0%} ({parts[part].per_s:.0f} {units[part]} a second)" for part in ordered]
    return f"the loop waited for {', '.join(told)}"


def _waits_for(snapshot: Snapshot) -> str:
    if snapshot.gate is not None and snapshot.gate.busy:
        return "gate"
    learner = snapshot.learner
    return "explorers" if learner is not None and learner.state is LearnerState.WAITING else "learner"


def _done(snapshot: Snapshot) -> dict[str, int]:
    return {
        "explorers": sum(boot.transitions for explorer in snapshot.explorers for boot in explorer.boots),
        "learner": snapshot.learner.gradient_steps if snapshot.learner else 0,
        "gate": snapshot.gate.episodes if snapshot.gate else 0,
    }
