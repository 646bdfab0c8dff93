"""RowRanges: which records hold numbers that no robot of this task can observe or do.

A sensor's glitch is finite, and passes every check for NaN; learned from, it spoils a policy. The task's layout says
what is possible. Records of another contract are held against bounds that fit any task.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from floop_robot.spec.ids import contract_id
from floop_robot.spec.layout import Layout, Vector
from floop_robot.spec.records import EpisodeEnd, Event, Record
from floop_robot.spec.task import TaskSpec
from floop_robot.stream.codec import Block, encode_block
from floop_robot.stream.columns import Matrix

MAX_ANY = 1e6
"""Largest number of an observation, a reward or a density of any task."""
MAX_ACTION = 1e3
"""Largest of an action. What a Gaussian policy asked for is held against this alone: it may lie outside its range."""
MARGIN = 1e-3
"""What rounding may add to a range, as a share of its width."""
REFUSED = "record_refused"
"""Name of the event that stands in the place of such a record."""


class _Range:
    """Bounds of the numbers of one vector."""

    def __init__(self, layout: Layout) -> None:
        margin = MARGIN * (layout.high - layout.low)
        self._low, self._high, self._layout = layout.low - margin, layout.high + margin, layout

    @property
    def size(self) -> int:
        """Numbers in the vector."""
        return self._layout.size

    def outside(self, rows: Matrix) -> NDArray[np.bool_]:
        """Which numbers are out of range, shape (rows, size); NaN is."""
        return ~((rows >= self._low) & (rows <= self._high))

    def describe(self, row: Vector) -> str:
        """The first number of a row that is out of range, and its range."""
        at = int(np.flatnonzero(self.outside(row[None])[0])[0])
        name, part = next((n, s) for n, s in self._layout.slices.items() if s.start <= at < s.stop)
        index = f"[{at - part.start}]" if part.stop - part.start > 1 else ""
        field = next(f for f in self._layout.fields if f.name == name)
        return f"{name}{index} is {row[at]:g}, outside {field.low:g} to {field.high:g} {field.unit}".strip()


class RowRanges:
    """The ranges of one task."""

    def __init__(self, task: TaskSpec, contract: str = "") -> None:
        """`contract`: of the records that must keep the task's own ranges; empty: the task's."""
        self._contract = contract or contract_id(task)
        self._observation, self._action = _Range(task.observation), _Range(task.action)

    def faults(self, block: Block) -> dict[int, str]:
        """Why records must not be learned from, by their keys; empty for nearly every block."""
        is_ours = block.info.ids.contract == self._contract
        found: dict[int, str] = {}
        if (rows := block.transitions) is not None:
            for name, matrix, ranges, most in (
                ("observation", rows.obs, self._observation, MAX_ANY),
                ("action", rows.action, self._action, MAX_ACTION),
                ("requested action", rows.action_requested, None, MAX_ACTION),
            ):
                found |= _outside(name, matrix, ranges if is_ours else None, most, rows.seq)
            for name, values in (("reward", rows.reward), ("log_prob", rows.log_prob)):
                for i in np.flatnonzero(np.abs(values) > MAX_ANY).tolist():
                    found[int(rows.seq[i])] = f"{name} is {values[i]:g}, beyond {MAX_ANY:g}"
        for end in block.ends:
            if fault := self._end_fault(end, is_ours):
                found[end.seq] = fault
        return found

    def _end_fault(self, end: EpisodeEnd, is_ours: bool) -> str:
        seqs = np.array([end.seq])
        ranges = self._observation if is_ours else None
        found = _outside("final observation", end.final_obs[None], ranges, MAX_ANY, seqs)
        if found:
            return found[end.seq]
        numbers = (end.duration_s, end.total_reward, end.object.yaw_rad, *end.object.size_m, *end.object.position_m)
        beyond = [number for number in (*numbers, *end.object.correction_m, *end.tried) if not abs(number) <= MAX_ANY]
        return f"the end of episode {end.episode} holds {beyond[0]:g}" if beyond else ""


def _outside(name: str, matrix: Matrix, ranges: _Range | None, most: float, seqs: NDArray[np.int64]) -> dict[int, str]:
    if ranges is not None and matrix.shape[1] == ranges.size:
        bad = np.flatnonzero(ranges.outside(matrix).any(axis=1)).tolist()
        return {int(seqs[i]): f"{name}: {ranges.describe(matrix[i])}" for i in bad}
    beyond = ~(np.abs(matrix) <= most)
    bad = np.flatnonzero(beyond.any(axis=1)).tolist()
    return {int(seqs[i]): f"{name} holds {matrix[i][beyond[i]][0]:g}, beyond {most:g}" for i in bad}


def without_faults(block: Block, faults: dict[int, str]) -> bytes:
    """The block with an event in the place of each of these records; all others stay."""
    records: list[Record] = [
        Event(seq=record.seq, stamp_ns=_stamp(record), name=REFUSED, detail=faults[record.seq])
        if record.seq in faults
        else record
        for record in block.records()
    ]
    return encode_block(block.info, block.first_seq, records)


def _stamp(record: Record) -> int:
    stamp_ns = record.stamp_ns
    return int(stamp_ns) if math.isfinite(stamp_ns) and stamp_ns >= 0 else 0
