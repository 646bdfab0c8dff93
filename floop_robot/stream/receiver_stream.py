"""ReceiverStream: ingest's side of the streaming protocol (`protocol.py`), a pure state machine."""

from __future__ import annotations

import enum
from collections import OrderedDict

import msgspec

from floop_robot.stream.messages import PROTOCOL, Ack, Data, Hello, Rejection

MAX_ANNOUNCED = 16
"""Peers per stream whose Hello is remembered until a block comes; one is expected, the rest is room for strangers."""


class BlockDecision(enum.Enum):
    """What ingest does with a block."""

    ACCEPT = enum.auto()
    """Store it: its keys follow on what is stored, or on what its sender announced."""
    DUPLICATE = enum.auto()
    """Its keys are stored already, or about to be: perhaps with other records."""
    GAP = enum.auto()
    """Its keys don't follow: something before it is missing, or part of it is stored."""
    UNKNOWN_STREAM = enum.auto()
    """No Hello yet, and nothing stored."""


class Mark(msgspec.Struct, frozen=True):
    """How far a stream is stored."""

    next_seq: int
    """One past the newest key."""
    crc: int = 0
    """CRC of the last block, as it was sent; 0: not known."""

    def is_before(self, data: Data) -> bool:
        """Whether a block follows on what is stored, as far as both sides say what that is."""
        return data.first_seq == self.next_seq and (not data.after_crc or data.after_crc == self.crc or not self.crc)


class ReceiverStream:
    """Ingest's side of one stream `(robot, boot_id)`; `mark` is its high-water mark in the journal, if any."""

    def __init__(self, mark: Mark | None) -> None:
        self.committed = mark
        """What is on disk."""
        self.accepted = mark
        """What is on disk or in the transaction that is being collected."""
        self._announced: OrderedDict[bytes, int] = OrderedDict()
        """Peers that announced lost keys, and the first key that each can deliver; the latest peer comes last."""

    def on_hello(self, hello: Hello, credit_bytes: int, peer: bytes = b"") -> Ack | Rejection | None:
        """Answer the sender `peer`; None while a commit is pending that decides it. The sender asks again."""
        if hello.protocol != PROTOCOL:
            reason = f"sender speaks protocol {hello.protocol}, ingest {PROTOCOL}; install the same floop on both"
            return Rejection(hello.boot_id, hello.first_seq, reason)
        if self.committed is None or self.committed.next_seq < hello.first_seq:
            if self.accepted != self.committed:
                return None
            self._announce(peer, hello.first_seq)
            return Ack(hello.boot_id, hello.first_seq, credit_bytes, nonce=hello.nonce)
        mark = self.committed
        return Ack(hello.boot_id, mark.next_seq, credit_bytes, nonce=hello.nonce, crc=mark.crc)

    def on_data(self, data: Data, peer: bytes = b"") -> BlockDecision:
        """Judge a block of the sender `peer` by its keys; the caller checks its content before `accept`."""
        if self.accepted is not None and data.end_seq <= self.accepted.next_seq:
            return BlockDecision.DUPLICATE
        follows = self.accepted is not None and self.accepted.is_before(data)
        if data.first_seq < data.end_seq and (follows or data.first_seq == self._announced.get(peer)):
            return BlockDecision.ACCEPT
        return BlockDecision.UNKNOWN_STREAM if self.accepted is None else BlockDecision.GAP

    def accept(self, end_seq: int, crc: int = 0) -> None:
        """The block is sound and part of the transaction."""
        self.accepted = Mark(end_seq, crc)
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
        return Ack(boot_id, self.committed.next_seq, credit_bytes, resend, crc=self.committed.crc)

    def _announce(self, peer: bytes, first_seq: int) -> None:
        self._announced[peer] = first_seq
        self._announced.move_to_end(peer)
        while len(self._announced) > MAX_ANNOUNCED:
            self._announced.popitem(last=False)
