"""Robots, an ingest and the network between them, in memory: everything that can happen, in any order.

The journal and the senders' disks survive crashes; machines, messages' order and the transaction being collected do
not. A disk may be copied: then two robots go on with one stream, each with records of its own. A stranger says Hello in
the sender's name, and is answered.
"""

from __future__ import annotations

import zlib
from collections import Counter
from random import Random

import msgspec

from floop_robot.durable.framing import Message
from floop_robot.stream.boot_alias import new_alias
from floop_robot.stream.messages import Ack, Compare, Compared, Data, FromIngest, Hello, HelloRequest, SentBlock
from floop_robot.stream.protocol import OutgoingBlock, SenderMachine, SenderSettings
from floop_robot.stream.receiver_stream import BlockDecision, Mark, ReceiverStream

SETTINGS = SenderSettings(window_bytes=60, retry_s=1.0, retry_max_s=4.0)
CREDITS = (0, 20, 100)


def block_of(first_seq: int, rows: list[int], boot_id: str = "b") -> OutgoingBlock:
    """A block that stands for these rows, each a byte long, with a CRC where real ones have it."""
    content = repr((boot_id, rows)).encode()
    payload = b"FLB2" + zlib.crc32(content).to_bytes(4, "little") + bytes(len(rows))
    return OutgoingBlock(first_seq, first_seq + len(rows), payload)


class Robot:
    """One spool and its sender. Each row is a number that no other row has, except in copies."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, list[int]]] = []
        self.floor = self.total = 0
        self.boot_id, self.fork_seq = "b", 0
        self.nonce = 0
        self.start()

    def copy(self) -> Robot:
        other = Robot()
        other.blocks, other.floor, other.total = list(self.blocks), self.floor, self.total
        other.boot_id, other.fork_seq = self.boot_id, self.fork_seq
        other.start()
        return other

    def start(self) -> None:
        self.nonce += 1000
        floor = max(self.floor, self.fork_seq)
        self.sender = SenderMachine("r", self.boot_id, floor, self.total, self.nonce, SETTINGS, self)

    def from_seq(self, seq: int, most: int) -> list[SentBlock]:
        return [block_of(f, rows, self.boot_id).name for f, rows in self.blocks if f + len(rows) > seq][:most]

    def record(self, rows: list[int]) -> None:
        self.blocks.append((self.total, rows))
        self.total += len(rows)

    def load(self) -> None:
        if self.sender.fork_seq is not None:
            first = next(iter(self.from_seq(self.sender.fork_seq, 1)), None)
            alias = new_alias(self.boot_id, self.sender.fork_seq, first)
            self.boot_id, self.fork_seq = alias.boot_id, alias.from_seq
            self.start()
        self.sender.set_stored_range(max(self.floor, self.fork_seq), self.total)
        for first, rows in self.blocks:
            if self.sender.has_room and first <= self.sender.end < first + len(rows):
                self.sender.offer(block_of(first, rows, self.boot_id))

    def let_go(self, random: Random) -> None:
        """The disk forgets acknowledged blocks, up to some border."""
        while self.blocks and self.blocks[0][0] + len(self.blocks[0][1]) <= self.sender.acked and random.random() < 0.5:
            first, rows = self.blocks.pop(0)
            self.floor = first + len(rows)


class Stored:
    """A stream at ingest: what is on disk, and what is being collected."""

    def __init__(self) -> None:
        self.blocks: list[tuple[SentBlock, list[int]]] = []
        self.start()

    def start(self) -> None:
        last = self.blocks[-1][0] if self.blocks else None
        self.receiver = ReceiverStream(Mark(last.end_seq, last.crc) if last else None)
        self.pending: list[tuple[SentBlock, list[int]]] = []


class World:
    def __init__(self, random: Random, copies: int = 0) -> None:
        self.random, self.copies = random, copies
        self.now, self.rows, self.crashes = 0.0, 0, 0
        self.robots = [Robot()]
        self.recorded: list[set[int]] = [set()]
        self.streams: dict[str, Stored] = {}
        self.to_ingest: list[tuple[int, Message, OutgoingBlock | None]] = []
        self.to_sender: list[tuple[int, FromIngest]] = []

    @property
    def stored(self) -> list[int]:
        return [row for stream in self.streams.values() for _, rows in stream.blocks for row in rows]

    def record(self, number: int) -> None:
        rows = list(range(self.rows, self.rows + self.random.randint(1, 4)))
        self.rows += len(rows)
        self.robots[number].record(rows)
        self.recorded[number].update(rows)

    def copy(self) -> None:
        if len(self.robots) <= self.copies:
            of = self.random.randrange(len(self.robots))
            self.robots.append(self.robots[of].copy())
            self.recorded.append(set(self.recorded[of]))

    def send(self, number: int) -> None:
        robot = self.robots[number]
        robot.load()
        for message, _ in robot.sender.poll(self.now):
            block = None
            if isinstance(message, Data):
                rows = next(rows for first, rows in robot.blocks if first == message.first_seq)
                block = OutgoingBlock(message.first_seq, message.end_seq, repr(rows).encode())
            self.to_ingest.append((number, message, block))

    def stream(self, boot_id: str) -> Stored:
        return self.streams.setdefault(boot_id, Stored())

    def ingest_takes(self, number: int, message: Message, block: OutgoingBlock | None, credit: int) -> None:
        assert isinstance(message, Hello | Data | Compare)
        stream, peer = self.stream(message.boot_id), b"%d" % number
        if isinstance(message, Hello):
            answer = stream.receiver.on_hello(message, credit, peer)
            self.say(number, answer if isinstance(answer, Ack) else None)
        elif isinstance(message, Compare):
            if stream.receiver.accepted == stream.receiver.committed:
                agreed_seq, mark = self.agreed(stream, message.blocks), stream.receiver.committed
                self.say(number, Compared(message.boot_id, message.nonce, agreed_seq, mark.next_seq if mark else 0))
        else:
            assert block is not None
            rows: list[int] = msgspec.json.decode(block.payload)
            sent = block_of(block.first_seq, rows, message.boot_id).name
            self.take_block(number, message, stream, sent, rows, credit)

    def take_block(
        self, number: int, data: Data, stream: Stored, sent: SentBlock, rows: list[int], credit: int
    ) -> None:
        step = stream.receiver.on_data(data, b"%d" % number)
        if step is BlockDecision.UNKNOWN_STREAM:
            self.say(number, HelloRequest(data.boot_id))
        elif step is BlockDecision.ACCEPT:
            stream.pending.append((sent, rows))
            stream.receiver.accept(data.end_seq, sent.crc)
        elif step is BlockDecision.DUPLICATE:
            mark = stream.receiver.committed
            if sent in [each for each, _ in stream.blocks]:
                self.say(number, stream.receiver.ack(data.boot_id, credit))
            elif mark is not None and data.end_seq <= mark.next_seq:
                self.say(number, Compared(data.boot_id, 0, data.first_seq, mark.next_seq))
        else:
            self.say(number, stream.receiver.ack(data.boot_id, credit, resend=True))

    @staticmethod
    def agreed(stream: Stored, blocks: tuple[SentBlock, ...]) -> int:
        have, agreed_seq = [each for each, _ in stream.blocks], blocks[0].first_seq
        for block in blocks:
            if block not in have:
                break
            agreed_seq = block.end_seq
        return agreed_seq

    def commit(self, credit: int) -> None:
        for boot_id, stream in self.streams.items():
            stream.blocks += stream.pending
            stream.pending = []
            stream.receiver.commit()
            for number, robot in enumerate(self.robots):
                if robot.boot_id == boot_id:
                    self.say(number, stream.receiver.ack(boot_id, credit))

    def say(self, number: int, answer: FromIngest | None) -> None:
        if answer is not None:
            self.to_sender.append((number, answer))

    def attack(self) -> None:
        """Somebody else claims the stream, with keys that it has, will have soon, or never."""
        robot = self.random.choice(self.robots)
        first = self.random.choice((self.random.randint(0, robot.total + 10), 2**40))
        hello = Hello("r", robot.boot_id, first, self.random.randint(1, 10**6))
        self.stream(robot.boot_id).receiver.on_hello(hello, 100, b"stranger")

    def restart_ingest(self) -> None:
        for stream in self.streams.values():
            stream.start()

    def fail_to_commit(self) -> None:
        for stream in self.streams.values():
            stream.pending = []
            stream.receiver.rollback()

    def check(self) -> None:
        """Nothing acknowledged or forgotten that is not stored, and nothing stored twice."""
        stored = Counter(self.stored)
        assert not stored or max(stored.values()) == 1, "stored twice"
        for robot, recorded in zip(self.robots, self.recorded, strict=True):
            kept = {row for first, rows in robot.blocks for row in rows if first >= robot.sender.acked}
            assert recorded - kept <= stored.keys(), "acknowledged and not stored"

    def step(self) -> None:
        """One thing happens."""
        random, number = self.random, self.random.randrange(len(self.robots))
        action = random.random()
        if action < 0.15:
            self.record(number)
        elif action < 0.40:
            self.send(number)
        elif action < 0.60 and self.to_ingest:
            at = random.randrange(len(self.to_ingest)) if random.random() < 0.3 else 0
            taken = self.to_ingest[at] if random.random() < 0.2 else self.to_ingest.pop(at)  # doubled or moved
            if random.random() < 0.85:  # or lost
                self.ingest_takes(*taken, random.choice(CREDITS))
        elif action < 0.75 and self.to_sender:
            at = random.randrange(len(self.to_sender)) if random.random() < 0.3 else 0
            to, answer = self.to_sender[at] if random.random() < 0.2 else self.to_sender.pop(at)
            if random.random() < 0.85:
                self.robots[to].sender.on_message(answer, self.now)
        elif action < 0.85:
            self.commit(random.choice(CREDITS))
        elif action < 0.86:
            self.attack()
        elif action < 0.88:
            self.fail_to_commit()
        elif action < 0.92:
            self.now += random.choice((0.1, 1.0, 5.0))
        elif action < 0.95:
            self.robots[number].let_go(random)
        elif action < 0.97:
            self.crashes += 1
            self.robots[number].start()
        elif action < 0.98:
            self.crashes += 1
            self.restart_ingest()
        elif action < 0.99:
            self.copy()
        else:
            self.to_ingest.clear()
            self.to_sender.clear()
        self.check()

    def settle(self) -> None:
        """The network heals, until everything is acknowledged."""
        for _ in range(400 + self.rows):
            if all(robot.sender.acked == robot.total for robot in self.robots):
                return
            for number in range(len(self.robots)):
                self.send(number)
            for taken in self.to_ingest:
                self.ingest_takes(*taken, 100)
            self.to_ingest.clear()
            self.commit(100)
            for number, answer in self.to_sender:
                self.robots[number].sender.on_message(answer, self.now)
            self.to_sender.clear()
            self.now += 0.3
            self.check()
        raise AssertionError(f"stuck: {[(r.boot_id, r.sender.acked, r.total, r.sender.conflict) for r in self.robots]}")
