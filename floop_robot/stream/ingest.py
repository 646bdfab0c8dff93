"""Ingest: takes in blocks from every sender, commits them in groups, and acknowledges what is on disk."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from floop_robot.durable.framing import Message, MessageRefused, deframe_message, frame_message
from floop_robot.spec.errors import StorageError
from floop_robot.spec.task import TaskSpec
from floop_robot.stream.codec import BlockDamaged, BlockRefused, check_block, decode_block
from floop_robot.stream.journal import Journal, JournalEntry
from floop_robot.stream.messages import (
    MAX_SENT_BLOCK_BYTES,
    Compare,
    Compared,
    Data,
    FromSender,
    Hello,
    HelloRequest,
    Rejection,
    SentBlock,
)
from floop_robot.stream.receiver_stream import BlockDecision, Mark, ReceiverStream
from floop_robot.stream.refused_records import RefusedRecords
from floop_robot.stream.row_ranges import RowRanges, without_faults
from floop_robot.transport.listener import Listener
from floop_robot.transport.peer_guard import PeerLimits

log = logging.getLogger(__name__)

GROUP_S = 0.004
"""Longest time a block waits for others to share its commit."""
GROUP_BYTES = 4 * 2**20
"""A commit is not made larger than about this."""
CREDIT_BYTES = 512 * 1024
"""Most unconfirmed bytes of one sender: seconds of a robot's records, and little enough to hold for a whole fleet."""
MAX_STREAMS = 1024
"""Streams whose mark stays in memory; marks of others are read from the journal when they send again."""
QUIET_S = 5.0
"""A fault that lasts is reported as often."""
QUEUE = 1000
"""Answers that wait per peer; they are short."""
LIMITS = PeerLimits(unread_bytes=MAX_SENT_BLOCK_BYTES + 2 * 2**20)
"""A sender has less under way than its window and one block."""

_DECODER: msgspec.msgpack.Decoder[FromSender] = msgspec.msgpack.Decoder(FromSender)


class IngestStats(msgspec.Struct, frozen=True):
    """How ingest does."""

    records: int
    commits: int
    malformed: int
    """Messages that were no message or held no sound block."""
    error: str
    """Why the journal takes nothing now; empty when it does."""
    out_of_range: int = 0
    """Records that events replaced, since no robot of the task can observe or do what they hold."""
    conflicts: int = 0
    """Blocks with other records under known keys; none was acknowledged."""
    hung_up: int = 0
    """Peers that were cut off."""
    notes: tuple[str, ...] = ()
    """What a person should see of these, one line for each robot."""


class Ingest:
    """The receiving end of all streams. One thread owns it and calls `step` until it is to stop."""

    def __init__(
        self,
        journal: Journal,
        endpoint: str,
        task: TaskSpec | None = None,
        refusal: Callable[[str, str], str] = lambda robot, secret: "",
    ) -> None:
        """`task`: the fleet's, whose ranges records must keep; None checks none. Raises `BindError`.

        `refusal(robot, secret)`: why whoever shows this secret may not record as this robot; empty if it may.
        """
        self._journal, self._refusal = journal, refusal
        self._senders: OrderedDict[bytes, str] = OrderedDict()
        """As which robot each peer may record; heard last comes last."""
        self._ranges = RowRanges(task) if task else None
        self._refused = RefusedRecords()
        self._listener = Listener(endpoint, "ingest", LIMITS, queue=QUEUE, max_message_bytes=MAX_SENT_BLOCK_BYTES)
        self._socket = self._listener.socket
        self.endpoint = self._listener.endpoint
        """Where it listens (with the port that was found, if 0 was asked for)."""
        self._streams: OrderedDict[tuple[str, str], ReceiverStream] = OrderedDict()  # heard last comes last
        self._pending: list[JournalEntry] = []
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._to_ack: dict[tuple[str, str], bytes] = {}
        self._records = self._commits = self._malformed = 0
        self._error, self._reported_at = "", float("-inf")

    @property
    def stats(self) -> IngestStats:
        """Counts so far."""
        return IngestStats(
            records=self._records,
            commits=self._commits,
            malformed=self._malformed,
            error=self._error,
            out_of_range=self._refused.out_of_range,
            conflicts=self._refused.conflicts,
            hung_up=self._listener.hung_up,
            notes=self._refused.notes(),
        )

    def step(self, wait_s: float) -> int:
        """Wait for messages up to `wait_s`, take in what is there, commit it; returns the number of blocks."""
        if not self._socket.poll(int(wait_s * 1000)):
            return 0
        until = time.monotonic() + GROUP_S
        while self._pending_bytes < GROUP_BYTES:
            left_ms = (until - time.monotonic()) * 1000
            if left_ms <= 0 or not self._socket.poll(max(1, int(left_ms))):
                break
            if frames := self._listener.receive():
                self._take(frames)
        return self._commit()

    def maintain(self) -> None:
        """Keep the journal within its limits; costs nothing when there is nothing to do."""
        try:
            self._journal.maintain()
        except StorageError as error:  # on a full disk: what commits say of it counts
            self._report("%s. Old records stay until then", error)

    def close(self) -> None:
        """Commit what was taken in, and stop listening."""
        self._commit()
        self._listener.close()

    def _take(self, frames: list[bytes]) -> None:
        peer = frames[0]
        try:
            message = deframe_message(frames[1] if len(frames) > 1 else b"", _DECODER)
        except MessageRefused:
            self._refuse(peer)
            return
        if not isinstance(message, Compare) and (refused := self._introduce(peer, message)) is not None:
            self._send(peer, refused)
            return
        stream = self._stream(message.robot, message.boot_id)
        if isinstance(message, Hello):
            answer: Message | None = stream.on_hello(message, self._credit, peer)
        elif isinstance(message, Compare):
            answer = self._compare(message, stream)
        else:
            answer = self._take_block(peer, message, stream, frames[2] if len(frames) > 2 else b"")
        if answer is not None:
            self._send(peer, answer)

    def _introduce(self, peer: bytes, message: Hello | Data) -> Message | None:
        """The answer to a peer that may not record as this robot; None to one that may."""
        robot, boot_id = message.robot, message.boot_id
        if isinstance(message, Data):  # without a Hello it has shown no secret
            return None if self._senders.get(peer) == robot or not self._why_not(robot, "") else HelloRequest(boot_id)
        if why := self._why_not(robot, message.secret):
            self._refused.stranger(robot, why)
            self._listener.refuse(peer)
            return Rejection(boot_id, message.first_seq, f"not recorded as {robot}: {why}")
        self._senders[peer] = robot
        self._senders.move_to_end(peer)
        while len(self._senders) > MAX_STREAMS:
            self._senders.popitem(last=False)
        return None

    def _why_not(self, robot: str, secret: str) -> str:
        try:
            return self._refusal(robot, secret)
        except StorageError as error:  # as while no file can be opened: it asks again
            return str(error)

    def _refuse(self, peer: bytes) -> None:
        self._malformed += 1
        self._listener.refuse(peer)

    def _stream(self, robot: str, boot_id: str) -> ReceiverStream:
        key = robot, boot_id
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = ReceiverStream(self._journal.mark(robot, boot_id))
        self._streams.move_to_end(key)
        while len(self._streams) > MAX_STREAMS and (oldest := next(iter(self._streams))) not in self._to_ack:
            del self._streams[oldest]
        return stream

    def _compare(self, asked: Compare, stream: ReceiverStream) -> Compared | None:
        """None while a commit is pending: what is on its way may be the sender's own. It asks again."""
        if stream.accepted != stream.committed:
            return None
        agreed_seq = self._journal.agreed(asked.robot, asked.boot_id, asked.blocks)
        next_seq = stream.committed.next_seq if stream.committed else 0
        if agreed_seq < min(next_seq, asked.blocks[-1].end_seq):
            self._refused.conflict(asked.robot, asked.boot_id)
        return Compared(asked.boot_id, asked.nonce, agreed_seq, next_seq)

    def _take_block(self, peer: bytes, data: Data, stream: ReceiverStream, payload: bytes) -> Message | None:
        step = stream.on_data(data, peer)
        if step is BlockDecision.UNKNOWN_STREAM:
            return HelloRequest(data.boot_id)
        if step is BlockDecision.DUPLICATE:
            return self._acknowledge_again(data, stream, payload)
        if step is BlockDecision.GAP:
            return stream.ack(data.boot_id, self._credit, resend=True)
        try:
            entry = self._entry(data, payload)
        except BlockDamaged:
            self._refuse(peer)
            return stream.ack(data.boot_id, self._credit, resend=True)
        except BlockRefused as error:
            self._refuse(peer)
            self._refused.block(data.robot, str(error))
            return Rejection(data.boot_id, data.first_seq, str(error))
        stream.accept(data.end_seq, entry.sent_crc)
        self._pending.append(entry)
        self._pending_bytes += len(entry.payload)
        self._to_ack[data.robot, data.boot_id] = peer
        return None

    def _acknowledge_again(self, data: Data, stream: ReceiverStream, payload: bytes) -> Message | None:
        """Its keys are known: acknowledge them only if the block is."""
        try:
            crc = check_block(payload).crc
        except BlockDamaged:
            return stream.ack(data.boot_id, self._credit)  # this names the block that is stored
        if stream.accepted == Mark(data.end_seq, crc):
            return stream.ack(data.boot_id, self._credit)
        if stream.committed is None or stream.committed.next_seq < data.end_seq:
            return None  # not on disk yet; it asks again
        sent = SentBlock(data.first_seq, data.end_seq, crc)
        if self._journal.agreed(data.robot, data.boot_id, (sent,)) == data.end_seq:
            return stream.ack(data.boot_id, self._credit)
        self._refused.conflict(data.robot, data.boot_id)
        return Compared(data.boot_id, 0, data.first_seq, stream.committed.next_seq)

    def _entry(self, data: Data, payload: bytes) -> JournalEntry:
        header = check_block(payload)
        if (header.first_seq, header.end_seq) != (data.first_seq, data.end_seq):
            raise BlockRefused(f"block holds keys {header.first_seq} to {header.end_seq}, not what its message says")
        block = decode_block(payload)
        if (block.info.robot, block.info.boot_id) != (data.robot, data.boot_id):
            raise BlockRefused(f"block is of {block.info.robot} {block.info.boot_id}, not what its message says")
        if self._ranges is not None and (faults := self._ranges.faults(block)):
            self._refused.range_faults(data.robot, faults)
            payload = without_faults(block, faults)
            block = decode_block(payload)
        return JournalEntry(block, payload, header.crc)

    def _commit(self) -> int:
        entries, self._pending, self._pending_bytes = self._pending, [], 0
        peers, self._to_ack = self._to_ack, {}
        if not entries:
            return 0
        try:
            self._journal.append(entries)
        except StorageError as error:
            for key in peers:
                self._streams[key].rollback()
            self._complain(str(error))
            return 0
        if self._error:
            log.warning("the journal takes records again")
            self._error = ""
        self._records += sum(len(entry.block) for entry in entries)
        self._commits += 1
        for key, peer in peers.items():
            self._streams[key].commit()
            ack = self._streams[key].ack(key[1], self._credit)
            if ack is not None:
                self._send(peer, ack)
        return len(entries)

    @property
    def _credit(self) -> int:
        # While the disk takes nothing each sender keeps one block under way, which probes it.
        return 0 if self._error else CREDIT_BYTES

    def _send(self, peer: bytes, message: Message) -> None:
        # What can't be sent is dropped; the sender asks again.
        self._listener.send([peer, frame_message(message)])

    def _complain(self, error: str) -> None:
        self._error = error
        self._report("%s. Records stay on the robots until then", error)

    def _report(self, text: str, error: object) -> None:
        """Log it, if nothing was logged for a while: a fault that lasts must not fill the log."""
        now = time.monotonic()
        if now - self._reported_at > QUIET_S:
            self._reported_at = now
            log.error(text, error)
