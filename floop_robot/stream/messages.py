"""Messages between sender and ingest, and between tail client and tail server: frozen structs in framed messages.

Blocks travel in ZeroMQ frames of their own beside them, since they carry a CRC already.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from floop_robot.durable.framing import Message
from floop_robot.spec.bounds import BoundedInt, Secret, WireName
from floop_robot.stream.codec import RecordKind

MAX_SENT_BLOCK_BYTES = 2 * 2**20
"""Of a block on its way to ingest; a robot's have some 64 KB. ZeroMQ hangs up on a peer that sends a larger one."""
MAX_REQUEST_BYTES = 64 * 1024
"""Of a request to the tail."""
MAX_COMPARED = 256
"""Blocks that one `Compare` names."""
PROTOCOL = 2
"""Of sender and ingest; 2: blocks carry their keys in a header (`FLB2`)."""

Crc = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class StreamMessage(Message, frozen=True, array_like=True):
    """Base of everything below: fields by position, since there is one message per block."""


class Hello(StreamMessage, frozen=True, tag="hello"):
    """Sender: here is a stream, where shall it continue? Repeated until an answer comes."""

    robot: WireName
    boot_id: WireName
    first_seq: BoundedInt
    """Oldest key that this sender can still deliver; older ones are no longer on its disk."""
    nonce: BoundedInt
    """Rises with every Hello of a sender; the answer repeats it. Never 0."""
    protocol: BoundedInt = PROTOCOL
    secret: Secret = ""
    """The robot's; blocks are taken from the connection that showed it."""


class Data(StreamMessage, frozen=True, tag="data"):
    """Sender: the block in the next frame holds keys `first_seq` ≤ seq < `end_seq`."""

    robot: WireName
    boot_id: WireName
    first_seq: BoundedInt
    end_seq: BoundedInt
    after_crc: Crc = 0
    """CRC of the block before it, as it was sent; 0: not known. Ingest takes the block only after that one."""


class Ack(StreamMessage, frozen=True, tag="ack"):
    """Ingest: every key below `next_seq` is on disk. Also the answer to Hello."""

    boot_id: WireName
    next_seq: BoundedInt
    credit_bytes: BoundedInt
    """How much the sender may have under way beyond `next_seq`."""
    resend: bool = False
    """Go back to `next_seq`: what came last did not follow on it, or was damaged."""
    nonce: BoundedInt = 0
    """Of the Hello this answers; 0 if none."""
    crc: Crc = 0
    """CRC of the block that was sent as the last one below `next_seq`; 0: not known."""


class SentBlock(msgspec.Struct, frozen=True, array_like=True):
    """A block by its keys and its CRC."""

    first_seq: BoundedInt
    end_seq: BoundedInt
    crc: Crc


class Compare(StreamMessage, frozen=True, tag="compare"):
    """Sender: tell up to which of these blocks, in this order, ingest has them just so."""

    robot: WireName
    boot_id: WireName
    nonce: BoundedInt
    blocks: Annotated[tuple[SentBlock, ...], msgspec.Meta(min_length=1, max_length=MAX_COMPARED)]


class Compared(StreamMessage, frozen=True, tag="compared"):
    """Ingest: it has those up to `agreed_seq` just so, and from there on others, or none."""

    boot_id: WireName
    nonce: BoundedInt
    """Of the Compare that this answers; 0: of a block whose keys are known, with other records."""
    agreed_seq: BoundedInt
    next_seq: BoundedInt
    """One past the newest key that it has of this stream."""


class HelloRequest(StreamMessage, frozen=True, tag="hello_request"):
    """Ingest: this stream, or who sends it, is unknown; send Hello first."""

    boot_id: WireName


class Rejection(StreamMessage, frozen=True, tag="refused"):
    """Ingest: this block can never be accepted as it is."""

    boot_id: WireName
    first_seq: BoundedInt
    reason: str


class FetchBlocks(StreamMessage, frozen=True, tag="fetch"):
    """Tail client: blocks with an id above `after`; wait up to `wait_s` if there is none yet."""

    request: BoundedInt
    after: BoundedInt
    max_blocks: BoundedInt
    max_bytes: BoundedInt
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=3600)]
    kinds: BoundedInt = int(RecordKind.ALL)
    sources: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, le=255)], ...], msgspec.Meta(max_length=16)] = ()
    """Only streams of these sources; empty means all."""


class FetchedBlocks(StreamMessage, frozen=True, tag="fetched"):
    """Tail server: the blocks in the next frames, one each, and up to which id the journal was looked through."""

    request: BoundedInt
    journal_id: str
    ids: tuple[BoundedInt, ...]
    through: BoundedInt
    damaged: BoundedInt = 0
    """Blocks in this range whose CRC failed on disk; they are left out."""
    removed_through: BoundedInt = 0
    """Blocks up to this id have left the journal, which is bounded; none of them can be read any more."""


class FetchSummary(StreamMessage, frozen=True, tag="fetch_summary"):
    """Tail client: what do the blocks up to one of them say of the fleet? Answered by `FetchedSummary`."""

    request: BoundedInt


class FetchedSummary(StreamMessage, frozen=True, tag="summary"):
    """Tail server: the journal's summary, and where to begin to read."""

    request: BoundedInt
    journal_id: str
    through: BoundedInt
    """Last block that it holds."""
    state: bytes
    """`FleetSummary.to_bytes`; empty when nothing is known yet."""
    recent_after: BoundedInt = 0
    """Who wants the newest transitions only (`journal_retention.KEPT_TRANSITIONS`) reads blocks after this one."""
    removed_through: BoundedInt = 0
    """As in `FetchedBlocks`."""


class AuditRequest(StreamMessage, frozen=True, tag="audit"):
    """Tail client: count and check the journal."""

    request: BoundedInt


class AuditReply(StreamMessage, frozen=True, tag="audited"):
    """Tail server: a `journal.JournalAudit` as JSON."""

    request: BoundedInt
    audit: bytes


class RequestFailed(StreamMessage, frozen=True, tag="failed"):
    """Tail server: the request could not be served."""

    request: BoundedInt
    reason: str


FromSender = Hello | Data | Compare
FromIngest = Ack | HelloRequest | Rejection | Compared
FromTailClient = FetchBlocks | AuditRequest | FetchSummary
FromTailServer = FetchedBlocks | AuditReply | RequestFailed | FetchedSummary
