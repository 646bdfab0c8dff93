"""JournalFollower: how gate, explorers, fleet manager and learner read the journal as it grows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from floop_robot.monitor.fleet_summary import FleetSummary, SummaryDamaged
from floop_robot.spec.records import Source
from floop_robot.stream.codec import RecordKind, TailBlock
from floop_robot.stream.tail_client import TailClient, TailError, TailFilter

log = logging.getLogger(__name__)

EPISODES = TailFilter(kinds=RecordKind.EPISODE_END | RecordKind.LABEL)
"""Blocks with episode ends or labels."""
ROBOT_EPISODES = TailFilter(kinds=EPISODES.kinds, sources=(int(Source.ROBOT),))
"""The same of robots alone. Blocks of explorers hold all their transitions, and nothing that a monitor counts."""
ROBOT_REPORTS = TailFilter(kinds=EPISODES.kinds | RecordKind.EVENT, sources=(int(Source.ROBOT), int(Source.FITTER)))
"""These, and the fits of the simulator to robots."""
ROBOT_ROWS = TailFilter(sources=ROBOT_REPORTS.sources)
"""Everything of robots, and the fits."""
_RETRY_S = 1.0


class SummaryStart(msgspec.Struct, frozen=True):
    """Begin with what the journal says of the fleet, and read what came after: also when it was replaced."""

    begin: Callable[[FleetSummary, int], None]
    """Takes the summary and the id of the last block that it holds, before any block; again after a replacement."""
    before: int = 0
    """So many blocks before the end of the summary are read, too: their rows are wanted, not what they count for."""
    recent: bool = False
    """Read the newest transitions instead (`journal_retention.KEPT_TRANSITIONS`)."""


class JournalFollower:
    """Reads block after block across restarts of ingest; owned by one thread, a context manager.

    It starts no thread: ingest holds each request open until there are new blocks, and `poll` collects the answer.
    """

    def __init__(
        self,
        endpoint: str,
        wanted: TailFilter | None = None,
        *,
        after: int = 0,
        journal_id: str = "",
        on_restart: Callable[[], None] | None = None,
        start: SummaryStart | None = None,
    ) -> None:
        """Read on after block `after` of journal `journal_id`, or where `start` says.

        `on_restart` is called before a journal is read from its start, because it was replaced or can't be read.
        Without it and `start`, `poll` raises `TailError` then.
        """
        self._endpoint, self._wanted, self._on_restart = endpoint, wanted, on_restart
        self._start, self._is_begun = start, start is None
        self._client = TailClient(endpoint, wanted, after=after, journal_id=journal_id)
        self._resume_at = 0.0

    def __enter__(self) -> JournalFollower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def position(self) -> int:
        """Id of the block up to which the journal was read."""
        return self._client.position

    @property
    def journal_id(self) -> str:
        """Identity of the journal; empty while unknown."""
        return self._client.journal_id

    def poll(self, timeout_s: float = 0.0) -> list[TailBlock]:
        """The next blocks, oldest first; empty when none came within `timeout_s`."""
        if time.monotonic() < self._resume_at:
            return []
        try:
            if not self._is_begun:
                self._begin(timeout_s)
                return []
            found, removed = self._client.poll(timeout_s), self._client.removed
        except TailError as error:
            if self._on_restart is None and self._start is None:
                raise
            log.warning("journal: %s; reading from its start", error)
            self._restart()
            return []
        if self._start is not None and removed:  # what it missed is in the summary
            self._restart()
            return []
        return found

    def _begin(self, timeout_s: float) -> None:
        """Ask for the summary, and go on behind it."""
        assert self._start is not None
        answer = self._client.poll_summary(timeout_s)
        if answer is None:
            return
        try:
            summary = FleetSummary.from_bytes(answer.state) if answer.state else FleetSummary()
        except SummaryDamaged as error:
            raise TailError(str(error)) from None
        before = max(answer.removed_through, answer.through - self._start.before)
        after = answer.recent_after if self._start.recent else before
        self._client.position, self._is_begun = after, True
        self._start.begin(summary, answer.through)

    def _restart(self) -> None:
        self._client.close()
        self._client = TailClient(self._endpoint, self._wanted)
        self._is_begun = self._start is None
        self._resume_at = time.monotonic() + _RETRY_S
        if self._on_restart is not None:
            self._on_restart()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
