"""Where rows come from: the journal, through whoever reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from floop_robot.stream.codec import Block


class JournalBlock(Protocol):
    """A block and its id in the journal; `stream.tail_client.TailBlock` is one."""

    @property
    def id(self) -> int:
        """Rises along the journal."""
        ...

    @property
    def block(self) -> Block:
        """Consecutive records of one stream."""
        ...


class JournalSource(Protocol):
    """Follows a journal; `stream.tail_client.TailClient` is one."""

    @property
    def position(self) -> int:
        """Id up to which the journal was read."""
        ...

    @property
    def journal_id(self) -> str:
        """Identity of the journal; empty while unknown."""
        ...

    def poll(self, timeout_s: float) -> Sequence[JournalBlock]:
        """The next blocks, oldest first; empty when none came in time."""
        ...
