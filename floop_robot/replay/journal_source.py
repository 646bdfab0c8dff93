"""JournalSource: how a learner reads the journal, whoever serves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from floop_robot.stream.tail_client import TailBlock


class JournalSource(Protocol):
    """Follows a journal; `stream.tail_client.TailClient` is one."""

    @property
    def position(self) -> int:
        """Id of the last block that was read."""
        ...

    @property
    def journal_id(self) -> str:
        """Identity of the journal; empty while unknown."""
        ...

    def poll(self, timeout_s: float) -> Sequence[TailBlock]:
        """The next blocks, oldest first; empty when none came in time."""
        ...
