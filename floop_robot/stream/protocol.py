"""The streaming protocol as two pure state machines: no socket, no clock, no disk; time comes in as an argument.

    sender                                   ingest
      Hello(floor, nonce)         ────────▶    looks up its high-water mark
      …                           ◀────────  Ack(next_seq, credit, nonce)
      Data(first_seq, end_seq)    ────────▶    accepts exactly what follows on the mark; commits; then
      …                           ◀────────  Ack(next_seq, credit)

Keys of a stream `(robot, boot_id)` are strictly consecutive. The high-water mark is committed together with the rows.
So every row takes effect exactly once, whatever is lost, doubled, reordered or restarted.

After any silence the sender sends Hello, and the answer gives the key to continue from. Retransmission, resumption and
probing are this one rule.

The mark can lie behind what was acknowledged before, when a journal was restored from a backup. Then the sender goes
back as far as its disk does, and ingest records the rest as a gap.

A Hello alone moves no mark. When it announces that older keys are lost, the mark moves only with the first sound block
of the same peer. So a stranger's Hello does not block another sender, unless more than `MAX_ANNOUNCED` peers send Hello
for a stream before its first block.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque

import msgspec

from floop_robot.stream.messages import PROTOCOL, Ack, Data, FromIngest, Hello, HelloRequest, Rejection

REFUSALS_BEFORE_REPLACING = 3
"""How often a refused block is sent before events take its place."""
MAX_ANNOUNCED = 16
"""Peers per stream whose Hello is remembered until a block comes; one is expected, the rest is room for strangers."""


class OutgoingBlock(msgspec.Struct, frozen=True):
    """A block as the sender holds it."""

    first_seq: int
    end_seq: int
    payload: bytes


class SenderSettings(msgspec.Struct, frozen=True):
    """Times and bounds of a sender."""

    window_bytes: int = 1 << 20
    """Most bytes under way; also what the sender holds in memory."""
    retry_s: float = 0.25
    """Silence after which Hello is sent, s; it doubles up to `retry_max_s`."""
    retry_max_s: float = 1.0
    """Longest such silence, s."""
    conflict_s: float = 3.0
    """Pause between Hellos while ingest claims keys that this spool never had, s."""


class SenderMachine:
    """The sending side of one stream `(robot, boot_id)`.

    Its owner reports the keys on its disk (`set_stored_range`), offers blocks from `end` on while `has_room`, passes in
    what arrives (`on_message`) and sends what `poll` returns.
    """

    def __init__(
        self,
        robot: str,
        boot_id: str,
        floor: int,
        limit: int,
        nonce: int,
        settings: SenderSettings | None = None,
        own_high_water_mark: int | None = None,
    ) -> None:
        """`own_high_water_mark`: one past the last key that any sender of this spool has sent; None means `limit`.

        It lies below `limit` when records were written while ingest did not answer: they were never sent.
        """
        self.robot, self.boot_id = robot, boot_id
        self.floor, self.limit = floor, limit
        """Oldest key on this disk, and one past the newest durable one."""
        self.acked = floor
        """Every key below is on ingest's disk, or no longer on this one."""
        self.refusal = ""
        """Why ingest refused the first block of the window; empty when it did not."""
        self.conflict = ""
        """Why nothing but Hello is sent: ingest has keys of this stream that this spool never sent. Else empty."""
        self.own_high_water_mark = limit if own_high_water_mark is None else own_high_water_mark
        """One past the newest key that ingest may have from this spool; stored on disk until ingest answered Hello."""
        self._settings = settings or SenderSettings()
        self._window: deque[OutgoingBlock] = deque()
        self._bytes = 0
        self._next = 0  # index in the window of the block to send next
        self._sent_bytes = 0
        self._credit = self._settings.window_bytes
        self._connected = False
        self._nonce = self._answered = nonce
        self._retry_s = self._settings.retry_s
        self._deadline = float("-inf")
        self._refusals = 0
        self._rewound_at = -1

    @property
    def has_room(self) -> bool:
        """Whether the window takes another block."""
        return self._connected and self._bytes < self._settings.window_bytes

    @property
    def is_connected(self) -> bool:
        """Whether ingest answered Hello and still answers."""
        return self._connected

    @property
    def end(self) -> int:
        """The next key to offer."""
        return self._window[-1].end_seq if self._window else self.acked

    @property
    def next_timeout(self) -> float:
        """When `poll` must run although nothing arrived and nothing was offered."""
        return self._deadline if self._next or not self._connected else float("inf")

    @property
    def must_replace(self) -> OutgoingBlock | None:
        """The first block, if ingest refused it too often; unchanged, it would block all that follow."""
        return self._window[0] if self._window and self._refusals >= REFUSALS_BEFORE_REPLACING else None

    def set_stored_range(self, floor: int, limit: int) -> None:
        """The disk now holds `floor` ≤ seq < `limit`; only acknowledged keys are deleted from it."""
        self.floor, self.limit = floor, limit
        if self.acked < floor:  # an answer from before the deletion had sent it back too far
            self._advance(floor)

    def offer(self, block: OutgoingBlock) -> None:
        """Append the block of the spool that holds key `end`."""
        if not block.first_seq <= self.end < block.end_seq:
            raise ValueError(f"offered keys {block.first_seq}..{block.end_seq}, expected one with {self.end}")
        self._window.append(block)
        self._bytes += len(block.payload)

    def replace_first(self, payload: bytes) -> None:
        """Put other content under the keys of `must_replace`."""
        first = self._window[0]
        self._window[0] = OutgoingBlock(first.first_seq, first.end_seq, payload)
        self._bytes += len(payload) - len(first.payload)
        self._refusals = 0
        self._rewind()

    def poll(self, now: float) -> list[tuple[Hello | Data, bytes]]:
        """What to send now, each with its payload frame (empty for Hello)."""
        if now >= self.next_timeout:
            return [(self._hello(now), b"")]
        out: list[tuple[Hello | Data, bytes]] = []
        while self._connected and self._next < len(self._window):
            block = self._window[self._next]
            if self._next and self._sent_bytes + len(block.payload) > self._credit:
                break  # one block is always under way, however small the credit
            if not self._next:
                self._deadline = now + self._retry_s
            out.append((Data(self.robot, self.boot_id, block.first_seq, block.end_seq), block.payload))
            self.own_high_water_mark = max(self.own_high_water_mark, block.end_seq)
            self._next += 1
            self._sent_bytes += len(block.payload)
        return out

    def on_message(self, message: FromIngest, now: float) -> None:
        """Process a message of ingest; messages of other streams and outdated ones change nothing."""
        if message.boot_id != self.boot_id:
            return
        if isinstance(message, Ack):
            self._on_ack(message, now)
        elif isinstance(message, HelloRequest):
            if self._connected:
                self._connected = False
                self._deadline = now
        else:
            self._on_refused(message, now)

    def _hello(self, now: float) -> Hello:
        self._connected = False
        self._deadline = now + (self._settings.conflict_s if self.conflict else self._retry_s)
        self._retry_s = min(2 * self._retry_s, self._settings.retry_max_s)
        self._nonce += 1
        return Hello(self.robot, self.boot_id, self.floor, self._nonce)

    def _on_ack(self, ack: Ack, now: float) -> None:
        answers_hello = not self._connected and self._answered < ack.nonce <= self._nonce
        if answers_hello:
            self._answered = ack.nonce
            self._on_answer(ack, now)
        elif self.acked < ack.next_seq <= self.end:
            self._advance(ack.next_seq)
            self._reset_timeout(now)
        self._credit = min(ack.credit_bytes, self._settings.window_bytes)
        if ack.resend and ack.next_seq == self.acked and self._rewound_at != self.acked:
            self._rewound_at = self.acked  # once per mark: doubled requests must not double the traffic
            self._rewind()

    def _on_answer(self, ack: Ack, now: float) -> None:
        # Keys that were recorded since and never sent don't count: at ingest they belong to other records.
        if ack.next_seq > self.own_high_water_mark:
            self._deadline = now + self._settings.conflict_s
            self.conflict = (
                f"ingest holds records of {self.robot} up to seq {ack.next_seq - 1} of boot {self.boot_id}, but this"
                f" spool ended at {self.own_high_water_mark - 1}: it was restored or copied. Move it away; a new spool"
                " starts a new boot"
            )
            return
        self._connected, self.conflict = True, ""
        self.refusal = self.refusal if self._refusals else ""
        self._reset_timeout(now)
        if ack.next_seq < self.acked:
            self._window.clear()
            self._bytes = 0
            self.acked = max(ack.next_seq, self.floor)
        else:
            self._advance(ack.next_seq)
        self._rewind()

    def _on_refused(self, message: Rejection, now: float) -> None:
        if not self._connected:
            self.refusal = message.reason  # the whole stream is refused; Hello is repeated until the cause is removed
            return
        if not self._window or message.first_seq != self._window[0].first_seq:
            return
        self.refusal = message.reason
        self._refusals += 1
        self._connected = False
        self._deadline = now + self._retry_s

    def _reset_timeout(self, now: float) -> None:
        self._retry_s = self._settings.retry_s
        self._deadline = now + self._retry_s

    def _advance(self, next_seq: int) -> None:
        while self._window and self._window[0].end_seq <= next_seq:
            acked = self._window.popleft()
            self._bytes -= len(acked.payload)
            self._refusals, self.refusal = 0, ""
            if self._next:
                self._next -= 1
                self._sent_bytes -= len(acked.payload)
        self.acked = next_seq

    def _rewind(self) -> None:
        self._next = self._sent_bytes = 0


class BlockDecision(enum.Enum):
    """What ingest does with a block."""

    ACCEPT = enum.auto()
    """Store the keys from `ReceiverStream.start_of` on."""
    DUPLICATE = enum.auto()
    """Already stored, or about to be."""
    GAP = enum.auto()
    """Something before it is missing."""
    UNKNOWN_STREAM = enum.auto()
    """No Hello yet, and nothing stored."""


class ReceiverStream:
    """Ingest's side of one stream `(robot, boot_id)`; `mark` is its high-water mark in the journal, if any."""

    def __init__(self, mark: int | None) -> None:
        self.committed = mark
        """Every key below is on disk."""
        self.accepted = mark
        """Every key below is on disk or in the transaction that is being collected."""
        self._announced: OrderedDict[bytes, int] = OrderedDict()
        """Peers that announced lost keys, and the first key that each can deliver; the latest peer comes last."""

    def on_hello(self, hello: Hello, credit_bytes: int, peer: bytes = b"") -> Ack | Rejection | None:
        """Answer the sender `peer`; None while a commit is pending that decides it. The sender asks again."""
        if hello.protocol != PROTOCOL:
            reason = f"sender speaks protocol {hello.protocol}, ingest {PROTOCOL}; install the same floop on both"
            return Rejection(hello.boot_id, hello.first_seq, reason)
        if self.committed is None or self.committed < hello.first_seq:
            if self.accepted != self.committed:
                return None
            self._announce(peer, hello.first_seq)
            return Ack(hello.boot_id, hello.first_seq, credit_bytes, nonce=hello.nonce)
        return Ack(hello.boot_id, self.committed, credit_bytes, nonce=hello.nonce)

    def on_data(self, data: Data, peer: bytes = b"") -> BlockDecision:
        """Judge a block of the sender `peer` by its keys; the caller checks its content before `accept`."""
        if self.accepted is not None and data.end_seq <= self.accepted:
            return BlockDecision.DUPLICATE
        if data.first_seq <= self.start_of(data, peer) < data.end_seq:
            return BlockDecision.ACCEPT
        return BlockDecision.UNKNOWN_STREAM if self.accepted is None else BlockDecision.GAP

    def start_of(self, data: Data, peer: bytes = b"") -> int:
        """The first key to store of an accepted block: the mark, or the key that its sender announced."""
        if self.accepted is not None and data.first_seq <= self.accepted:
            return self.accepted
        return self._announced.get(peer, -1)

    def accept(self, end_seq: int) -> None:
        """The block is sound and part of the transaction."""
        self.accepted = end_seq
        self._announced.clear()

    def commit(self) -> None:
        """The transaction is on disk."""
        self.committed = self.accepted

    def rollback(self) -> None:
        """The transaction failed: nothing of it is stored, and the sender will send it again."""
        self.accepted = self.committed

    def ack(self, boot_id: str, credit_bytes: int, *, resend: bool = False) -> Ack | None:
        """What the sender may delete; None before the first commit of the stream."""
        if self.committed is None:
            return None
        return Ack(boot_id, self.committed, credit_bytes, resend)

    def _announce(self, peer: bytes, first_seq: int) -> None:
        self._announced[peer] = first_seq
        self._announced.move_to_end(peer)
        while len(self._announced) > MAX_ANNOUNCED:
            self._announced.popitem(last=False)
