"""TransitionBuilder: blocks of the journal become transitions, sorted into known and fresh work. It never reads `GroundTruth`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.monitor.shift_detector import FailingClasses, ShiftDetector
from floop_robot.replay.next_obs_joiner import JoinedBlock, NextObsJoiner
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import ActMode, EpisodeEnd, OutcomeCode, Source
from floop_robot.spec.task import TaskSpec
from floop_robot.stream.codec import Block


class EndedEpisode(msgspec.Struct, frozen=True):
    """An episode that is over, and tells something of the policy: it was not aborted."""

    episode: int
    failed: bool


class ReceivedTransitions(msgspec.Struct, frozen=True, kw_only=True):
    """What a block brought."""

    robot: str
    boot_id: str
    source: Source
    rows: Transitions | None = None
    is_new: NDArray[np.bool_] | None = None
    """Per row: not of the work the policy was trained on, or of known work that goes wrong now."""
    ended: tuple[EndedEpisode, ...] = ()


class TransitionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken in and what was not."""

    robot: int = 0
    explorer: int = 0
    demonstration: int = 0
    foreign: int = 0
    """Rows of another contract or reward, or of another shape: not comparable, left out."""
    dropped: int = 0
    """Rows whose successor never came."""


class TransitionBuilder:
    """Turns blocks into `ReceivedTransitions`."""

    def __init__(self, task: TaskSpec, ids: Ids, shift_detector: ShiftDetector) -> None:
        self._task, self._ids, self._shift_detector = task, ids, shift_detector
        self._failing_classes = FailingClasses(task.observation)
        self._joiner = NextObsJoiner()
        self._rows = dict.fromkeys(Source, 0)
        self._foreign = 0

    @property
    def counts(self) -> TransitionCounts:
        """Rows by source, and rows left out."""
        return TransitionCounts(
            robot=self._rows[Source.ROBOT],
            explorer=self._rows[Source.EXPLORER],
            demonstration=self._rows[Source.DEMONSTRATION],
            foreign=self._foreign,
            dropped=self._joiner.dropped,
        )

    def take(self, block: Block) -> ReceivedTransitions | None:
        """What a block brought; None where it is of another contract."""
        info = block.info
        if info.ids.contract != self._ids.contract or info.ids.reward != self._ids.reward or not self._fits(block):
            self._foreign += len(block.transitions) if block.transitions is not None else 0
            return None
        done = self._joiner.feed(block)
        self._watch(info.source, block.ends)
        return self._sorted(done)

    def _fits(self, block: Block) -> bool:
        c, t = block.transitions, self._task
        return c is None or (c.obs.shape[1], c.action.shape[1]) == (t.observation.size, t.action.size)

    def _watch(self, source: Source, ends: Iterable[EpisodeEnd]) -> None:
        # Only what the deployed policy does tells that known work goes wrong; explorers err by design.
        for end in ends:
            if source is Source.ROBOT and end.act_mode == ActMode.MEAN and end.outcome != OutcomeCode.ABORTED:
                self._failing_classes.report(end.work.object_class, failed=end.outcome != OutcomeCode.SUCCESS)

    def _sorted(self, done: JoinedBlock) -> ReceivedTransitions:
        info, rows = done.info, done.rows
        ended = tuple(
            EndedEpisode(e.episode, e.outcome != OutcomeCode.SUCCESS) for e in done.ends if e.outcome != OutcomeCode.ABORTED
        )
        fresh = None
        if rows is not None:
            self._rows[info.source] += len(rows)
            fresh = self._shift_detector(rows.obs) | self._failing_classes(rows.obs)
            if info.source is Source.DEMONSTRATION:
                fresh[:] = False
        return ReceivedTransitions(
            robot=info.robot, boot_id=info.boot_id, source=info.source, rows=rows, is_new=fresh, ended=ended
        )
