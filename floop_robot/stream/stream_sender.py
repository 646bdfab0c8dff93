"""StreamSender: carries a spool to ingest over ZeroMQ, in a thread of its own; connects out, listens on nothing."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator

import msgspec
import zmq

from floop_robot.durable.framing import MessageRefused, deframe_message, frame_message
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import Event
from floop_robot.spec.wall_clock import wall_clock_ns
from floop_robot.stream.boot_alias import BootAlias, BootAliases, new_alias
from floop_robot.stream.codec import encode_block
from floop_robot.stream.messages import FromIngest, SentBlock
from floop_robot.stream.protocol import OutgoingBlock, SenderMachine, SenderSettings
from floop_robot.stream.spool import Spool, SpoolReader, StreamRange
from floop_robot.transport.zmq_sockets import connect_socket

log = logging.getLogger(__name__)

MAX_IDLE_S = 0.2
"""Longest wait for news from spool or ingest, s."""

_DECODER: msgspec.msgpack.Decoder[FromIngest] = msgspec.msgpack.Decoder(FromIngest)


class SenderStats(msgspec.Struct, frozen=True):
    """How a sender does."""

    acked: int
    """Keys confirmed since this process began, counted by the mark; `acked_seq` is the mark itself."""
    acked_seq: int
    """One past the newest confirmed key of the boot being sent."""
    behind: int
    """Records of that boot on this disk and not confirmed."""
    is_connected: bool
    """Whether ingest answers."""
    replaced: int
    """Records ingest would not take; an event stands in their place."""
    malformed: int
    """Messages from ingest that did not decode."""
    error: str
    """What a person should know and do; empty when all is well."""
    forks: int = 0
    """How often records went on under a new boot, because ingest has others under their keys."""


class StreamSender:
    """Sends what is durable in `spool` to `endpoint` until closed, whatever happens to the other side."""

    def __init__(self, spool: Spool, endpoint: str, settings: SenderSettings | None = None, secret: str = "") -> None:
        """`secret`: the robot's, by which ingest knows that its records are its own."""
        self._spool, self._endpoint, self._secret = spool, endpoint, secret
        self._settings = settings or SenderSettings()
        self._aliases = BootAliases(spool.folder)
        self._boot_id = ""
        """Of the records on disk that are being sent."""
        self._alias: BootAlias | None = None
        """The name under which they travel, if it is another."""
        self._reader = SpoolReader(spool, "", 0)
        self._blocks: Iterator[OutgoingBlock] = iter(())
        self._machine = self._new_machine(spool.stream())
        self._acked = self._replaced = self._malformed = 0
        self._forks, self._fork_text = 0, ""
        self._disk_error = ""
        self._is_paused, self._pause_reason = False, ""
        self._stop = threading.Event()
        self._thread = OwnedThread(self._run, "stream-sender", self._stop)
        self._thread.start()

    def stats(self) -> SenderStats:
        """Counts so far; from any thread."""
        machine = self._machine
        return SenderStats(
            acked=self._acked,
            acked_seq=machine.acked,
            behind=max(0, machine.limit - machine.acked),
            is_connected=machine.is_connected,
            replaced=self._replaced,
            malformed=self._malformed,
            error=self._pause_reason
            or machine.conflict
            or machine.refusal
            or self._disk_error
            or self._thread.fault
            or self._fork_text,
            forks=self._forks,
        )

    def pause(self, paused: bool, why: str = "") -> None:
        """Send nothing while paused; `why` is shown as an error. From any thread."""
        self._is_paused, self._pause_reason = paused, why
        self._spool.wake()

    def drain(self, timeout_s: float) -> bool:
        """Wait until ingest has confirmed everything durable now; False: it took longer."""
        boot_id, target = self._spool.info.boot_id, self._spool.durable_seq
        deadline = time.monotonic() + timeout_s
        while self._boot_id != boot_id or self._machine.acked < target:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """End the thread; what is not confirmed stays in the spool."""
        self._stop.set()
        self._spool.wake()
        self._thread.join()

    def _new_machine(self, stream: StreamRange) -> SenderMachine:
        """A machine for a boot of the disk, under the name by which its records travel."""
        own = stream.info.boot_id
        alias = self._aliases.load(own)
        floor = max(stream.floor, alias.from_seq) if alias else stream.floor
        self._boot_id, self._alias = own, alias
        self._reader, self._blocks = SpoolReader(self._spool, own, floor), iter(())
        boot_id = alias.boot_id if alias else own
        nonce = secrets.randbits(48)
        return SenderMachine(stream.info.robot, boot_id, floor, stream.limit, nonce, self._settings, self, self._secret)

    def from_seq(self, seq: int, most: int) -> list[SentBlock]:
        """Blocks of the disk as they are sent; see `protocol.OwnBlocks`."""
        blocks = SpoolReader(self._spool, self._boot_id, seq).take()
        return [self._as_sent(block).name for block in itertools.islice(blocks, most)]

    def _as_sent(self, block: OutgoingBlock) -> OutgoingBlock:
        return self._alias.renamed(block, self._boot_id) if self._alias else block

    def _run(self) -> None:
        context = zmq.Context()
        socket = connect_socket(context, zmq.DEALER, self._endpoint)
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(self._spool.wake_fd, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                self._step(socket, poller)
        finally:
            socket.close()
            context.term()

    def _step(self, socket: zmq.Socket[bytes], poller: zmq.Poller) -> None:
        self._disk_error = ""
        with self._disk():
            self._fork()
            self._load()
        is_paused = self._is_paused
        with self._disk():
            for message, payload in () if is_paused else self._machine.poll(time.monotonic()):
                with contextlib.suppress(zmq.Again):  # no connection, or its queue is full: silence, hence a Hello
                    socket.send_multipart([frame_message(message), payload], zmq.NOBLOCK)
        left_s = MAX_IDLE_S if is_paused else self._machine.next_timeout - time.monotonic()
        pause_s = min(MAX_IDLE_S, max(0.0, left_s))
        ready = dict(poller.poll(int(pause_s * 1000) + 1))
        if self._spool.wake_fd in ready:
            os.eventfd_read(self._spool.wake_fd)
        if socket in ready:
            self._receive(socket)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """What the disk refuses is shown, and tried again."""
        try:
            yield
        except (OSError, StorageError) as error:
            self._disk_error = f"cannot use spool {self._spool.folder}: {error}; free space or check the disk"

    def _fork(self) -> None:
        """Let the records that ingest does not have travel under a new boot, once it is known from which key on."""
        machine = self._machine
        if machine.fork_seq is None:
            return
        first = next(iter(self.from_seq(machine.fork_seq, 1)), None)
        alias = new_alias(machine.boot_id, machine.fork_seq, first)
        self._aliases.store(self._boot_id, alias)  # before anything is sent under it
        self._forks += 1
        self._fork_text = (
            f"{machine.conflict}; its records from seq {alias.from_seq} on go on under the new boot {alias.boot_id}, "
            f"none is lost. If another robot runs with that spool, give it a name of its own"
        )
        log.warning("%s", self._fork_text)
        self._machine = self._new_machine(self._spool.stream())

    def _load(self) -> None:
        stream = self._spool.stream()
        if stream.info.boot_id != self._boot_id:
            self._machine = self._new_machine(stream)
            self._aliases.keep_only(set(self._spool.ends()))
        machine = self._machine
        machine.set_stored_range(max(stream.floor, self._alias.from_seq if self._alias else 0), stream.limit)
        if (bad := machine.must_replace) is not None:
            machine.replace_first(self._stand_in(bad, stream))
        while machine.has_room and machine.end < machine.limit:
            if self._reader.seq != machine.end:
                self._reader, self._blocks = SpoolReader(self._spool, self._boot_id, machine.end), iter(())
            block = next(self._blocks, None)
            if block is None:
                self._blocks = self._reader.take()
                block = next(self._blocks, None)
            if block is None:
                return
            machine.offer(self._as_sent(block))

    def _stand_in(self, bad: OutgoingBlock, stream: StreamRange) -> bytes:
        count = bad.end_seq - bad.first_seq
        self._replaced += count
        event = Event(seq=0, stamp_ns=wall_clock_ns(), name="record_refused", detail=self._machine.refusal)
        info = msgspec.structs.replace(stream.info, boot_id=self._machine.boot_id)
        return encode_block(info, bad.first_seq, [event] * count)

    def _receive(self, socket: zmq.Socket[bytes]) -> None:
        before = self._machine.acked
        with contextlib.suppress(zmq.Again):
            while True:
                try:
                    message = deframe_message(socket.recv(zmq.NOBLOCK), _DECODER)
                except MessageRefused:
                    self._malformed += 1
                    continue
                with self._disk():
                    self._machine.on_message(message, time.monotonic())
        if self._machine.acked > before:
            self._acked += self._machine.acked - before
            with contextlib.suppress(OSError):  # the segment is deleted with the next one
                self._spool.acknowledge(self._boot_id, self._machine.acked)
