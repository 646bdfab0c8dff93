"""TransitionBuilder: turns blocks of the journal into transitions of known and new tasks, without `GroundTruth`."""

from __future__ import annotations

import msgspec

from floop_robot.monitor.failure_monitor import FailureMonitor
from floop_robot.monitor.shift_detector import ShiftDetector
from floop_robot.replay.next_obs_joiner import NextObsJoiner
from floop_robot.replay.transitions import EndedEpisode, Transitions, ended_episodes
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.task import TaskSpec
from floop_robot.stream.codec import Block, decode_block
from floop_robot.stream.row_ranges import RowRanges, without_faults


class TransitionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were taken in, by source, and how many were left out."""

    robot: int = 0
    explorer: int = 0
    demonstration: int = 0
    foreign: int = 0
    """Rows of another contract, reward or shape, or out of the task's ranges. They are left out."""
    dropped: int = 0
    """Rows whose successor never came."""


class TransitionBuilder:
    """Completes the rows of blocks and marks those of new tasks."""

    def __init__(self, task: TaskSpec, ids: Ids, shift_detector: ShiftDetector) -> None:
        self._task, self._ids, self._shift_detector = task, ids, shift_detector
        self.failures = FailureMonitor()
        """What fails on the robots: rows of it are new, too."""
        self._joiner = NextObsJoiner()
        self._ranges = RowRanges(task, ids.contract)
        self._rows = dict.fromkeys(Source, 0)
        self._foreign = self._out_of_range = 0

    @property
    def counts(self) -> TransitionCounts:
        """Rows by source, and rows left out."""
        return TransitionCounts(
            robot=self._rows[Source.ROBOT],
            explorer=self._rows[Source.EXPLORER],
            demonstration=self._rows[Source.DEMONSTRATION],
            foreign=self._foreign + self._out_of_range,
            dropped=self._joiner.dropped,
        )

    def build(self, block: Block) -> tuple[Transitions | None, tuple[EndedEpisode, ...]]:
        """Transitions that a block completed (None if none), and episodes it ended; nothing of another contract."""
        info = block.info
        if info.ids.contract != self._ids.contract or info.ids.reward != self._ids.reward or not self._fits(block):
            self._foreign += len(block.transitions) if block.transitions is not None else 0
            return None, ()
        if faults := self._ranges.faults(block):  # of an ingest that did not look
            self._out_of_range += len(faults)
            block = decode_block(without_faults(block, faults))
        rows = self._joiner.join(block)
        self.failures.take(info, block.ends, block.labels)
        if rows is not None:
            self._rows[info.source] += len(rows)
            if info.source is not Source.DEMONSTRATION:
                rows.is_new[:] = self._shift_detector(rows.obs, self._failing_for(info))
        return rows, tuple(self._with_failures(end) for end in ended_episodes(block.ends))

    def _with_failures(self, end: EndedEpisode) -> EndedEpisode:
        name = end.object_class
        fails_everywhere = name in self.failures.failing and not self.failures.failing_robots(name)
        return msgspec.structs.replace(end, fails_everywhere=fails_everywhere)

    def _failing_for(self, info: StreamInfo) -> list[str]:
        """Classes whose rows from this stream are new; a robot's only where they fail on it, too."""
        if info.source is not Source.ROBOT:
            return list(self.failures.failing)
        return [n for n in self.failures.failing if info.robot in (self.failures.failing_robots(n) or (info.robot,))]

    def _fits(self, block: Block) -> bool:
        c, t = block.transitions, self._task
        return c is None or (c.obs.shape[1], c.action.shape[1]) == (t.observation.size, t.action.size)
