"""TailClient: reads the journal from another process, block by block, and outlives restarts of ingest."""

from __future__ import annotations

import logging
import time
from typing import TypeVar

import msgspec
import zmq

from floop_robot.durable.framing import Message, MessageRefused, deframe_message, frame_message
from floop_robot.spec.errors import FloopError
from floop_robot.stream.codec import BlockDamaged, BlockRefused, RecordKind, TailBlock, decode_block
from floop_robot.stream.journal_reader import JournalAudit
from floop_robot.stream.messages import (
    AuditReply,
    AuditRequest,
    FetchBlocks,
    FetchedBlocks,
    FetchedSummary,
    FetchSummary,
    FromTailServer,
    RequestFailed,
)
from floop_robot.transport.zmq_sockets import connect_socket, receive

log = logging.getLogger(__name__)

HOLD_S = 0.5
"""Ingest holds a request open at least this long, however soon the caller looks again: most callers look often."""
RETRY_S = 1.0
"""Silence beyond the asked-for wait, after which a request is sent again."""

MAX_REPEATS = 3
"""How often a range is asked for again because a block was damaged on its way."""

_DECODER: msgspec.msgpack.Decoder[FromTailServer] = msgspec.msgpack.Decoder(FromTailServer)
T = TypeVar("T")


class TailError(FloopError):
    """The journal can't be read: it is damaged, or another one than before."""


class TailFilter(msgspec.Struct, frozen=True):
    """Which blocks are wanted."""

    kinds: RecordKind = RecordKind.ALL
    """Blocks that hold one of these; what else they hold comes with them."""
    sources: tuple[int, ...] = ()
    """Streams of these `Source`s only; empty means all."""
    max_blocks: int = 512
    max_bytes: int = 4 * 2**20


class TailClient:
    """Follows the journal from `after` on; for one thread. Opens nothing but an outgoing connection."""

    def __init__(
        self, endpoint: str, wanted: TailFilter | None = None, *, after: int = 0, journal_id: str = ""
    ) -> None:
        self.position = after
        """Id up to which the journal was read; with `journal_id` all that is needed to resume."""
        self.journal_id = journal_id
        """Identity of the journal; empty until the first answer."""
        self.damaged = 0
        """Blocks left out because they were damaged on ingest's disk or do not decode."""
        self.removed = 0
        """Ids that had left the journal before they were read; reading went on behind them."""
        self._wanted = wanted or TailFilter()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = connect_socket(self._context, zmq.DEALER, endpoint)
        self._request = 0
        self._sent: tuple[Message, float] | None = None
        self._payloads: list[bytes] = []  # of the last answer
        self._repeats = 0

    def poll(self, timeout_s: float = 1.0) -> list[TailBlock]:
        """The next blocks, oldest first; empty when none came within `timeout_s` or ingest is away.

        Raises `TailError` when the journal is damaged as a whole, or was replaced by another one.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            if self._sent is None or not isinstance(self._sent[0], FetchBlocks):
                hold_s = max(left_s, HOLD_S)
                self._ask(self._fetch(hold_s), hold_s)
            answer = self._await(FetchedBlocks, deadline)
            if answer is None:
                return []
            blocks = self._take(answer)
            if blocks or time.monotonic() >= deadline:
                return blocks

    def poll_summary(self, timeout_s: float = 1.0) -> FetchedSummary | None:
        """What the journal says of the fleet, and where to read on; None when no answer came within `timeout_s`.

        Asked again, it waits for the same answer. Raises `TailError` as `poll`.
        """
        if self._sent is None or not isinstance(self._sent[0], FetchSummary):
            self._request += 1
            self._ask(FetchSummary(self._request), timeout_s)
        answer = self._await(FetchedSummary, time.monotonic() + timeout_s)
        if answer is not None:
            self._sent = None
            self._check_journal(answer.journal_id)
        return answer

    def audit(self, timeout_s: float = 30.0) -> JournalAudit:
        """Have the whole journal counted and checked; raises `TailError` when no answer comes."""
        self._request += 1
        self._ask(AuditRequest(self._request), timeout_s)
        answer = self._await(AuditReply, time.monotonic() + timeout_s)
        self._sent = None
        if answer is None:
            raise TailError(f"ingest did not answer within {timeout_s:g} s; is it running?")
        return msgspec.json.decode(answer.audit, type=JournalAudit)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close(0)
        self._context.term()

    def _fetch(self, wait_s: float) -> FetchBlocks:
        self._request += 1
        wanted = self._wanted
        return FetchBlocks(
            request=self._request,
            after=self.position,
            max_blocks=wanted.max_blocks,
            max_bytes=wanted.max_bytes,
            wait_s=wait_s,
            kinds=int(wanted.kinds),
            sources=tuple(int(source) for source in wanted.sources),
        )

    def _ask(self, message: Message, patience_s: float) -> None:
        try:
            self._socket.send(frame_message(message), zmq.NOBLOCK)
            self._sent = message, time.monotonic() + patience_s + RETRY_S
        except zmq.Again:  # no connection yet
            self._sent = message, time.monotonic() + 0.05

    def _await(self, kind: type[T], deadline: float) -> T | None:
        while True:
            now = time.monotonic()
            assert self._sent is not None
            message, ask_again = self._sent
            if now >= ask_again:
                self._ask(message, max(0.0, deadline - now))
                continue
            pause_s = max(0.0, min(deadline, ask_again) - now)
            if not self._socket.poll(int(pause_s * 1000) + 1):
                if time.monotonic() >= deadline:
                    return None
                continue
            answer = self._receive()
            if isinstance(answer, kind):
                return answer

    def _receive(self) -> FromTailServer | None:
        frames = receive(self._socket)
        if not frames:
            return None
        try:
            answer = deframe_message(frames[0], _DECODER)
        except MessageRefused:
            return None
        if answer.request != self._request:
            return None  # answers a request that was given up
        if isinstance(answer, FetchedBlocks) and len(answer.ids) != len(frames) - 1:
            return None  # no floop sends that; the request is repeated
        self._payloads = frames[1:]
        if isinstance(answer, RequestFailed):
            self._sent = None
            raise TailError(answer.reason)
        return answer

    def _take(self, answer: FetchedBlocks) -> list[TailBlock]:
        self._sent = None
        self._check_journal(answer.journal_id)
        blocks, damaged = [], 0
        for number, payload in zip(answer.ids, self._payloads, strict=True):
            try:
                blocks.append(TailBlock(number, decode_block(payload)))
            except BlockDamaged:  # on its way, since the server checked it: the same range is asked for again
                if self._repeats < MAX_REPEATS:
                    self._repeats += 1
                    return []
                damaged += 1
            except BlockRefused:
                damaged += 1
        self._repeats = 0
        if answer.removed_through > self.position and (not blocks or blocks[0].id > answer.removed_through):
            self._note_removed(answer.removed_through)
        self.position = max(self.position, answer.through)
        self.damaged += answer.damaged + damaged
        return blocks

    def _note_removed(self, removed_through: int) -> None:
        self.removed += removed_through - self.position
        if self.position:  # a newcomer misses nothing
            log.warning(
                "journal: blocks %d to %d left it before they were read (storage.journal_gb, journal_days); "
                "reading on from block %d",
                self.position + 1,
                removed_through,
                removed_through + 1,
            )

    def _check_journal(self, journal_id: str) -> None:
        if self.journal_id not in ("", journal_id):
            raise TailError(
                f"the journal was replaced ({self.journal_id} by {journal_id}); bring that journal back, or remove "
                "checkpoint.learner from the run directory"
            )
        self.journal_id = journal_id
