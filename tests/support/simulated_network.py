"""A robot, an ingest and the network between them, in memory: everything that can happen, in any order.

The journal and the sender's disk survive crashes; machines, messages' order and the transaction being collected do not.
A stranger says Hello in the sender's name, and is answered.
"""

from __future__ import annotations

from random import Random

from floop_robot.durable.framing import Message
from floop_robot.stream.messages import Ack, Data, Hello, HelloRequest
from floop_robot.stream.protocol import BlockDecision, OutgoingBlock, ReceiverStream, SenderMachine, SenderSettings

SETTINGS = SenderSettings(window_bytes=12, retry_s=1.0, retry_max_s=4.0)


class World:
    """One stream; payloads have one byte per key, so windows and credits bite."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = 0.0
        self.total = 0  # keys on the sender's disk: floor ≤ key < total
        self.floor = 0
        self.journal: list[int] = []
        self.baseline: int | None = None
        self.to_ingest: list[tuple[Message, bytes]] = []
        self.to_sender: list[Message] = []
        self.nonce = 0
        self.crashes = 0
        self.start_sender()
        self.start_ingest()

    @property
    def mark(self) -> int | None:
        return None if self.baseline is None else self.journal[-1] + 1

    def start_sender(self) -> None:
        self.nonce += 1000
        self.sender = SenderMachine("r", "b", self.floor, self.total, self.nonce, SETTINGS)

    def start_ingest(self) -> None:
        self.receiver = ReceiverStream(self.mark)
        self.pending: list[int] = []

    def record(self, count: int) -> None:
        self.total += count
        self.sender.set_stored_range(self.sender.floor, self.total)

    def load(self) -> None:
        """Offer blocks; their borders are drawn anew each time, as after a restart with other settings."""
        while self.sender.has_room and self.sender.end < self.total:
            start = self.sender.end
            first = max(self.floor, start - self.random.choice((0, 0, 0, 1, 2)))
            end = min(self.total, start + self.random.randint(1, 4))
            self.sender.offer(OutgoingBlock(first, end, bytes(end - first)))

    def send(self) -> None:
        self.sender.set_stored_range(self.floor, self.total)
        self.load()
        self.to_ingest += self.sender.poll(self.now)

    def let_go(self) -> None:
        """The sender's disk forgets acknowledged keys, up to some border."""
        self.floor = max(self.floor, self.random.randint(self.floor, max(self.floor, self.sender.acked)))

    def ingest_takes(self, message: Message, credit: int) -> None:
        if isinstance(message, Hello):
            answer = self.receiver.on_hello(message, credit)
            if answer is not None:
                self.to_sender.append(answer)
            return
        assert isinstance(message, Data)
        step = self.receiver.on_data(message)
        if step is BlockDecision.UNKNOWN_STREAM:
            self.to_sender.append(HelloRequest("b"))
        elif step is BlockDecision.ACCEPT:
            self.pending += range(self.receiver.start_of(message), message.end_seq)
            self.receiver.accept(message.end_seq)
        else:
            self.say(self.receiver.ack("b", credit, resend=step is BlockDecision.GAP))

    def commit(self, credit: int) -> None:
        if self.pending:
            self.journal += self.pending
            self.baseline = self.journal[0]
            self.pending = []
        self.receiver.commit()
        self.say(self.receiver.ack("b", credit))

    def say(self, answer: Ack | None) -> None:
        if answer is not None:
            self.to_sender.append(answer)

    def attack(self) -> None:
        """Somebody else claims the stream, with keys that it has, will have soon, or never."""
        first = self.random.choice((self.random.randint(0, self.total + 10), 2**40))
        self.receiver.on_hello(Hello("r", "b", first, self.random.randint(1, 10**6)), 100, b"stranger")

    def fail_to_commit(self) -> None:
        self.pending = []
        self.receiver.rollback()

    def check(self) -> None:
        """Exactly once, in order; nothing acknowledged or forgotten that is not in the journal."""
        if self.journal:
            assert self.journal == list(range(self.journal[0], self.journal[-1] + 1))
        assert self.sender.acked <= max(self.floor, self.mark or 0)
        assert self.floor <= (self.mark or 0) or self.floor == 0

    def step(self) -> None:
        """One thing happens."""
        random = self.random
        action = random.random()
        if action < 0.15:
            self.record(random.randint(1, 6))
        elif action < 0.40:
            self.send()
        elif action < 0.60 and self.to_ingest:
            at = random.randrange(len(self.to_ingest)) if random.random() < 0.3 else 0
            message, _ = self.to_ingest[at] if random.random() < 0.2 else self.to_ingest.pop(at)  # doubled or moved
            if random.random() < 0.85:  # or lost
                self.ingest_takes(message, random.choice((0, 3, 100)))
        elif action < 0.75 and self.to_sender:
            at = random.randrange(len(self.to_sender)) if random.random() < 0.3 else 0
            answer = self.to_sender[at] if random.random() < 0.2 else self.to_sender.pop(at)
            if random.random() < 0.85:
                self.sender.on_message(answer, self.now)  # type: ignore[arg-type]
        elif action < 0.85:
            self.commit(random.choice((0, 3, 100)))
        elif action < 0.86:
            self.attack()
        elif action < 0.88:
            self.fail_to_commit()
        elif action < 0.92:
            self.now += random.choice((0.1, 1.0, 5.0))
        elif action < 0.95:
            self.let_go()
        elif action < 0.97:
            self.crashes += 1
            self.start_sender()
        elif action < 0.99:
            self.crashes += 1
            self.start_ingest()
        else:
            self.to_ingest.clear()
            self.to_sender.clear()
        self.check()

    def settle(self) -> int:
        """The network heals; returns how many rounds it took until everything was acknowledged."""
        for rounds in range(200 + self.total):
            if self.sender.acked == self.total:
                return rounds
            self.send()
            for message, _ in self.to_ingest:
                self.ingest_takes(message, 100)
            self.to_ingest.clear()
            self.commit(100)
            for answer in self.to_sender:
                assert isinstance(answer, Ack | HelloRequest)
                self.sender.on_message(answer, self.now)
            self.to_sender.clear()
            self.now += 0.3
            self.check()
        raise AssertionError(f"stuck: acked {self.sender.acked} of {self.total}, mark {self.mark}")
