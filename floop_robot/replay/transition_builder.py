"""Intake: blocks of the journal become transitions, sorted into known and fresh work. It never reads `Truth`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.replay.next_obs_joiner import Assembled, Assembler
from floop_robot.monitor.shift_detector import Novelty, Troubles
from floop_robot.replay.transitions import Rows
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import ActMode, EpisodeEnd, Outcome, Source
from floop_robot.spec.task import TaskSpec
from floop_robot.stream.codec import Block


class Ended(msgspec.Struct, frozen=True):
    """An episode that is over, and tells something of the policy: it was not aborted."""

    episode: int
    failed: bool


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """What a block brought."""

    robot: str
    boot_id: str
    source: Source
    rows: Rows | None = None
    fresh: NDArray[np.bool_] | None = None
    """Per row: not of the work the policy was trained on, or of known work that goes wrong now."""
    ended: tuple[Ended, ...] = ()


class IntakeCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken in and what was not."""

    robot: int = 0
    explorer: int = 0
    demonstration: int = 0
    foreign: int = 0
    """Rows of another contract or reward, or of another shape: not comparable, left out."""
    dropped: int = 0
    """Rows whose successor never came."""


class Intake:
    """Turns blocks into `Arrived`."""

    def __init__(self, task: TaskSpec, ids: Ids, novelty: Novelty) -> None:
        self._task, self._ids, self._novelty = task, ids, novelty
        self._troubles = Troubles(task.observation)
        self._assembler = Assembler()
        self._rows = dict.fromkeys(Source, 0)
        self._foreign = 0

    @property
    def counts(self) -> IntakeCounts:
        """Rows by source, and rows left out."""
        return IntakeCounts(
            robot=self._rows[Source.ROBOT],
            explorer=self._rows[Source.EXPLORER],
            demonstration=self._rows[Source.DEMONSTRATION],
            foreign=self._foreign,
            dropped=self._assembler.dropped,
        )

    def take(self, block: Block) -> Arrived | None:
        """What a block brought; None where it is of another contract."""
        info = block.info
        if info.ids.contract != self._ids.contract or info.ids.reward != self._ids.reward or not self._fits(block):
            self._foreign += len(block.transitions) if block.transitions is not None else 0
            return None
        done = self._assembler.feed(block)
        self._watch(info.source, block.ends)
        return self._sorted(done)

    def _fits(self, block: Block) -> bool:
        c, t = block.transitions, self._task
        return c is None or (c.obs.shape[1], c.action.shape[1]) == (t.observation.size, t.action.size)

    def _watch(self, source: Source, ends: Iterable[EpisodeEnd]) -> None:
        # Only what the deployed policy does tells that known work goes wrong; explorers err by design.
        for end in ends:
            if source is Source.ROBOT and end.act_mode == ActMode.MEAN and end.outcome != Outcome.ABORTED:
                self._troubles.report(end.work.object_class, failed=end.outcome != Outcome.SUCCESS)

    def _sorted(self, done: Assembled) -> Arrived:
        info, rows = done.info, done.rows
        ended = tuple(
            Ended(e.episode, e.outcome != Outcome.SUCCESS) for e in done.ends if e.outcome != Outcome.ABORTED
        )
        fresh = None
        if rows is not None:
            self._rows[info.source] += len(rows)
            fresh = self._novelty(rows.obs) | self._troubles(rows.obs)
            if info.source is Source.DEMONSTRATION:
                fresh[:] = False
        return Arrived(
            robot=info.robot, boot_id=info.boot_id, source=info.source, rows=rows, fresh=fresh, ended=ended
        )
