"""Ingest: takes in blocks from every sender, commits them in groups, and acknowledges what is on disk."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict

import msgspec
import zmq

from floop_robot.durable.framing import Message, MessageRefused, deframe_message, frame_message
from floop_robot.spec.errors import StorageError
from floop_robot.stream.codec import BlockDamaged, BlockRefused, decode_block, split_block
from floop_robot.stream.journal import Journal, JournalEntry
from floop_robot.stream.messages import MAX_INGEST_MESSAGE_BYTES, Data, FromSender, Hello, HelloRequest, Rejection
from floop_robot.stream.protocol import BlockDecision, ReceiverStream
from floop_robot.transport.zmq_sockets import bind_socket, receive

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

_DECODER: msgspec.msgpack.Decoder[FromSender] = msgspec.msgpack.Decoder(FromSender)


class IngestStats(msgspec.Struct, frozen=True):
    """How ingest does."""

    records: int
    commits: int
    malformed: int
    """Messages that were no message or held no sound block."""
    error: str
    """Why the journal takes nothing now; empty when it does."""


class Ingest:
    """The receiving end of all streams. One thread owns it and calls `step` until it is to stop."""

    def __init__(self, journal: Journal, endpoint: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._journal = journal
        self._socket = bind_socket(context, zmq.ROUTER, endpoint, "ingest", max_message_bytes=MAX_INGEST_MESSAGE_BYTES)
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
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
        return IngestStats(self._records, self._commits, self._malformed, self._error)

    def step(self, wait_s: float) -> int:
        """Wait for messages up to `wait_s`, take in what is there, commit it; returns the number of blocks."""
        if not self._socket.poll(int(wait_s * 1000)):
            return 0
        until = time.monotonic() + GROUP_S
        while self._pending_bytes < GROUP_BYTES:
            left_ms = (until - time.monotonic()) * 1000
            if left_ms <= 0 or not self._socket.poll(max(1, int(left_ms))):
                break
            if frames := receive(self._socket):
                self._take(frames)
        return self._commit()

    def maintain(self) -> None:
        """Keep the journal within its limits; costs nothing when there is nothing to do."""
        try:
            self._journal.maintain()
        except StorageError as error:  # on a full disk: what commits say of it counts
            now = time.monotonic()
            if now - self._reported_at > QUIET_S:
                self._reported_at = now
                log.error("%s. Old records stay until then", error)

    def close(self) -> None:
        """Commit what was taken in, and stop listening."""
        self._commit()
        self._socket.close()

    def _take(self, frames: list[bytes]) -> None:
        peer = frames[0]
        try:
            message = deframe_message(frames[1] if len(frames) > 1 else b"", _DECODER)
        except MessageRefused:
            self._malformed += 1
            return
        stream = self._stream(message.robot, message.boot_id)
        if isinstance(message, Hello):
            answer: Message | None = stream.on_hello(message, self._credit, peer)
        else:
            answer = self._take_block(peer, message, stream, frames[2] if len(frames) > 2 else b"")
        if answer is not None:
            self._send(peer, answer)

    def _stream(self, robot: str, boot_id: str) -> ReceiverStream:
        key = robot, boot_id
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = ReceiverStream(self._journal.high_water_mark(robot, boot_id))
        self._streams.move_to_end(key)
        while len(self._streams) > MAX_STREAMS and (oldest := next(iter(self._streams))) not in self._to_ack:
            del self._streams[oldest]
        return stream

    def _take_block(self, peer: bytes, data: Data, stream: ReceiverStream, payload: bytes) -> Message | None:
        step = stream.on_data(data, peer)
        if step is BlockDecision.UNKNOWN_STREAM:
            return HelloRequest(data.boot_id)
        if step is BlockDecision.DUPLICATE:
            return stream.ack(data.boot_id, self._credit)
        if step is BlockDecision.GAP:
            return stream.ack(data.boot_id, self._credit, resend=True)
        try:
            entry = self._entry(data, stream.start_of(data, peer), payload)
        except BlockDamaged:
            self._malformed += 1
            return stream.ack(data.boot_id, self._credit, resend=True)
        except BlockRefused as error:
            self._malformed += 1
            return Rejection(data.boot_id, data.first_seq, str(error))
        stream.accept(data.end_seq)
        self._pending.append(entry)
        self._pending_bytes += len(entry.payload)
        self._to_ack[data.robot, data.boot_id] = peer
        return None

    @staticmethod
    def _entry(data: Data, start: int, payload: bytes) -> JournalEntry:
        block = decode_block(payload)
        found = (block.info.robot, block.info.boot_id, block.first_seq, block.end_seq)
        if found != (data.robot, data.boot_id, data.first_seq, data.end_seq):
            raise BlockRefused(f"block holds {found}, not what its message says")
        if start > block.first_seq:
            payload = split_block(block, start)
            block = decode_block(payload)
        return JournalEntry(block, payload)

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
        # A ROUTER drops what it can't route; the sender asks again.
        self._socket.send_multipart([peer, frame_message(message)])

    def _complain(self, error: str) -> None:
        self._error, now = error, time.monotonic()
        if now - self._reported_at > QUIET_S:
            self._reported_at = now
            log.error("%s. Records stay on the robots until then", error)
