"""The streaming protocol, and its sending side as a pure state machine: no socket, no clock; time is an argument.

    sender                                   ingest
      Hello(floor, nonce)         ────────▶    looks up its high-water mark
      …                           ◀────────  Ack(next_seq, credit, nonce)
      Data(first_seq, end_seq)    ────────▶    accepts exactly what follows on the mark; commits; then
      …                           ◀────────  Ack(next_seq, credit)

Keys of a stream `(robot, boot_id)` are strictly consecutive. The high-water mark is committed together with the rows.
So every row takes effect exactly once, whatever is lost, doubled, reordered or restarted.

Each Ack names the CRC of the last block that it speaks of. A sender believes it only if that block is its own. Else two
copies of one spool write under the same keys, or the spool was restored. Then it asks up to where ingest has its blocks
just so (Compare), and whoever owns the machine sends the rest under a new boot. Nothing is lost, and nothing doubled.

After any silence the sender sends Hello, and the answer gives the key to continue from. Retransmission, resumption and
probing are this one rule.

The mark can lie behind what was acknowledged before, when a journal was restored from a backup. Then the sender goes
back as far as its disk does, and ingest records the rest as a gap.

A Hello alone moves no mark. When it announces that older keys are lost, the mark moves only with the first sound block
of the same peer. So a stranger's Hello does not block another sender, unless more than
`receiver_stream.MAX_ANNOUNCED` peers send Hello for a stream before its first block.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import msgspec

from floop_robot.stream.codec import stored_crc
from floop_robot.stream.messages import (
    MAX_COMPARED,
    Ack,
    Compare,
    Compared,
    Data,
    FromIngest,
    Hello,
    HelloRequest,
    Rejection,
    SentBlock,
)

REFUSALS_BEFORE_REPLACING = 3
"""How often a refused block is sent before events take its place."""


class OutgoingBlock(msgspec.Struct, frozen=True):
    """A block as the sender holds it."""

    first_seq: int
    end_seq: int
    payload: bytes

    @property
    def crc(self) -> int:
        """The CRC that the block carries."""
        return stored_crc(self.payload)

    @property
    def name(self) -> SentBlock:
        """The block by its keys and CRC."""
        return SentBlock(self.first_seq, self.end_seq, self.crc)


class OwnBlocks(Protocol):
    """The blocks on the sender's disk, as they are sent."""

    def from_seq(self, seq: int, most: int) -> list[SentBlock]:
        """At most `most` blocks in order, from the one that holds `seq` on; raises OSError or `StorageError`."""
        ...


class SenderSettings(msgspec.Struct, frozen=True):
    """Times and bounds of a sender."""

    window_bytes: int = 1 << 20
    """Most bytes under way; also what the sender holds in memory."""
    retry_s: float = 0.25
    """Silence after which Hello is sent, s; it doubles up to `retry_max_s`."""
    retry_max_s: float = 1.0
    """Longest such silence, s."""


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
        own_blocks: OwnBlocks | None = None,
        secret: str = "",
    ) -> None:
        """`own_blocks`: to compare with what ingest says that it has; None believes ingest."""
        self.robot, self.boot_id = robot, boot_id
        self.floor, self.limit = floor, limit
        """Oldest key on this disk, and one past the newest durable one."""
        self.acked = floor
        """Every key below is on ingest's disk, or no longer on this one."""
        self.refusal = ""
        """Why ingest refused the first block of the window; empty when it did not."""
        self.conflict = ""
        """Why nothing but `Compare` is sent: ingest has other records under keys of this stream. Else empty."""
        self.fork_seq: int | None = None
        """In a conflict, once it is known: from this key on the records of this disk are not on ingest's."""
        self._own_blocks, self._secret = own_blocks, secret
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
        self._acked_crc = 0  # of the last block below `acked`; 0: not known
        self._compared: tuple[SentBlock, ...] = ()

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
            self._advance(floor, 0)

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

    def poll(self, now: float) -> list[tuple[Hello | Data | Compare, bytes]]:
        """What to send now, each with its payload frame (empty for Hello and Compare).

        Raises what `own_blocks` raises.
        """
        if now >= self.next_timeout:
            message = self._ask(now)
            return [(message, b"")] if message else []
        out: list[tuple[Hello | Data | Compare, bytes]] = []
        while self._connected and self._next < len(self._window):
            block = self._window[self._next]
            if self._next and self._sent_bytes + len(block.payload) > self._credit:
                break  # one block is always under way, however small the credit
            if not self._next:
                self._deadline = now + self._retry_s
            after_crc = self._window[self._next - 1].crc if self._next else self._acked_crc
            out.append((Data(self.robot, self.boot_id, block.first_seq, block.end_seq, after_crc), block.payload))
            self._next += 1
            self._sent_bytes += len(block.payload)
        return out

    def on_message(self, message: FromIngest, now: float) -> None:
        """Process a message of ingest; messages of other streams and outdated ones change nothing.

        Raises what `own_blocks` raises; the message is lost then, and the next one does.
        """
        if message.boot_id != self.boot_id:
            return
        if isinstance(message, Ack):
            self._on_ack(message, now)
        elif isinstance(message, Compared):
            self._on_compared(message, now)
        elif isinstance(message, HelloRequest):
            if self._connected:
                self._connected = False
                self._deadline = now
        else:
            self._on_refused(message, now)

    def _ask(self, now: float) -> Hello | Compare | None:
        self._connected = False
        self._deadline = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, self._settings.retry_max_s)
        self._nonce += 1
        if not self.conflict:
            return Hello(self.robot, self.boot_id, self.floor, self._nonce, secret=self._secret)
        if not self._compared:
            self._compare_from(self.floor)
        if self.fork_seq is None and not self._compared:  # nothing of it is here
            self.fork_seq = self.limit
        return None if self.fork_seq is not None else Compare(self.robot, self.boot_id, self._nonce, self._compared)

    def _on_ack(self, ack: Ack, now: float) -> None:
        if self.conflict:
            return
        answers_hello = not self._connected and self._answered < ack.nonce <= self._nonce
        if answers_hello:
            self._on_answer(ack, now)
        elif self.acked < ack.next_seq <= self.end:
            if not self._is_own(ack):
                self._dispute(ack.next_seq, now)
                return
            self._advance(ack.next_seq, ack.crc)
            self._reset_timeout(now)
        self._credit = min(ack.credit_bytes, self._settings.window_bytes)
        if ack.resend and ack.next_seq == self.acked and self._rewound_at != self.acked:
            self._rewound_at = self.acked  # once per mark: doubled requests must not double the traffic
            self._rewind()

    def _on_answer(self, ack: Ack, now: float) -> None:
        if ack.next_seq > self.limit or (ack.next_seq > self.acked and not self._is_own(ack)):
            self._dispute(ack.next_seq, now)
            return
        self._answered, self._connected = ack.nonce, True
        self.refusal = self.refusal if self._refusals else ""
        self._reset_timeout(now)
        if ack.next_seq < self.acked:
            self._window.clear()
            self._bytes = 0
            self.acked = max(ack.next_seq, self.floor)
            self._acked_crc = ack.crc if self.acked == ack.next_seq else 0
        else:
            self._advance(ack.next_seq, ack.crc)
        self._rewind()

    def _is_own(self, ack: Ack) -> bool:
        """Whether the last block that ingest acknowledges is one of this disk, byte for byte."""
        if not ack.crc:
            return True  # an older ingest does not say
        for block in self._window:
            if block.end_seq == ack.next_seq:
                return block.crc == ack.crc
        if self._own_blocks is None:
            return True
        found = self._own_blocks.from_seq(ack.next_seq - 1, 1)
        return not found or (found[0].end_seq, found[0].crc) == (ack.next_seq, ack.crc)

    def _dispute(self, next_seq: int, now: float) -> None:
        self.conflict = (
            f"ingest has other records of {self.robot} under keys near {next_seq} of boot {self.boot_id}: this"
            " spool was copied or restored"
        )
        self._connected, self._deadline, self._compared = False, now, ()
        self._retry_s = self._settings.retry_s

    def _compare_from(self, seq: int) -> None:
        self._compared = tuple(self._own_blocks.from_seq(seq, MAX_COMPARED)) if self._own_blocks else ()

    def _on_compared(self, message: Compared, now: float) -> None:
        if not self.conflict and not message.nonce and message.agreed_seq < self.end:  # it compared a block by itself
            self._dispute(message.agreed_seq, now)
        if not self.conflict or self.fork_seq is not None or message.nonce != self._nonce:
            return
        agreed_seq = message.agreed_seq
        if agreed_seq == self._compared[-1].end_seq < self.limit:
            self._compare_from(agreed_seq)
            self._deadline = now
        elif message.next_seq > agreed_seq:
            self.fork_seq = max(agreed_seq, self.floor)
        else:  # it has nothing but what is on this disk, too
            self.conflict, self._deadline = "", now

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

    def _advance(self, next_seq: int, crc: int) -> None:
        while self._window and self._window[0].end_seq <= next_seq:
            acked = self._window.popleft()
            self._bytes -= len(acked.payload)
            self._refusals, self.refusal = 0, ""
            if self._next:
                self._next -= 1
                self._sent_bytes -= len(acked.payload)
        self.acked, self._acked_crc = next_seq, crc

    def _rewind(self) -> None:
        self._next = self._sent_bytes = 0
