"""StreamSender: carries a spool to ingest over ZeroMQ, in a thread of its own; connects out, listens on nothing."""

from __future__ import annotations

import contextlib
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
from floop_robot.stream.codec import encode_block
from floop_robot.stream.high_water_mark import OwnHighWaterMarks
from floop_robot.stream.messages import FromIngest
from floop_robot.stream.protocol import OutgoingBlock, SenderMachine, SenderSettings
from floop_robot.stream.spool import Spool, SpoolReader, StreamRange
from floop_robot.transport.zmq_sockets import connect_socket

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


class StreamSender:
    """Sends what is durable in `spool` to `endpoint` until closed, whatever happens to the other side.

    Make it before anything is recorded: what the spool holds by then counts as its own (see `high_water_mark.py`).
    """

    def __init__(self, spool: Spool, endpoint: str, settings: SenderSettings | None = None) -> None:
        self._spool, self._endpoint = spool, endpoint
        self._settings = settings or SenderSettings()
        self._own_marks = OwnHighWaterMarks(spool.folder)
        ends = spool.ends()
        loaded = {boot_id: self._own_marks.load(boot_id) for boot_id in ends}
        self._stored_marks = {boot_id: end for boot_id, end in loaded.items() if end is not None}
        """Own high-water mark of each boot on disk; -1 while a write of it may have failed half-way."""
        self._unanswered_marks = ends | self._stored_marks
        """The marks that should be on disk: one for each boot that ingest has not answered for."""
        with contextlib.suppress(OSError):  # each step tries again and reports it
            self._store_marks()
        self._machine = self._new_machine(spool.stream())
        self._reader = SpoolReader(spool, self._machine.boot_id, self._machine.end)
        self._blocks: Iterator[OutgoingBlock] = iter(())
        self._acked = self._replaced = self._malformed = 0
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
            error=self._pause_reason or machine.conflict or machine.refusal or self._disk_error or self._thread.fault,
        )

    def pause(self, paused: bool, why: str = "") -> None:
        """Send nothing while paused; `why` is shown as an error. From any thread."""
        self._is_paused, self._pause_reason = paused, why
        self._spool.wake()

    def drain(self, timeout_s: float) -> bool:
        """Wait until ingest has confirmed everything durable now; False: it took longer."""
        boot_id, target = self._spool.info.boot_id, self._spool.durable_seq
        deadline = time.monotonic() + timeout_s
        while self._machine.boot_id != boot_id or self._machine.acked < target:
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
        info, nonce, own_high_water_mark = (
            stream.info,
            secrets.randbits(48),
            self._unanswered_marks.get(stream.info.boot_id),
        )
        return SenderMachine(
            info.robot, info.boot_id, stream.floor, stream.limit, nonce, self._settings, own_high_water_mark
        )

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
        for step in (self._note_answer, self._load):  # in this order: the answer is on disk before data goes out
            try:
                step()
            except (OSError, StorageError) as error:
                self._disk_error = f"cannot use spool {self._spool.folder}: {error}; free space or check the disk"
        is_paused = self._is_paused
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

    def _note_answer(self) -> None:
        # A full disk must not stop the sending, which empties it. A mark that could not be deleted makes the next
        # process report a conflict where there is none: a person has to look, but no row is lost.
        machine = self._machine
        if machine.conflict:
            self._unanswered_marks[machine.boot_id] = machine.own_high_water_mark
        elif machine.is_connected:
            self._unanswered_marks.pop(machine.boot_id, None)
        self._store_marks()

    def _store_marks(self) -> None:
        for boot_id in self._stored_marks.keys() - self._unanswered_marks.keys():
            self._own_marks.delete(boot_id)
            del self._stored_marks[boot_id]
        for boot_id, end in self._unanswered_marks.items():
            if self._stored_marks.get(boot_id) != end:
                self._stored_marks[boot_id] = -1
                self._own_marks.store(boot_id, end)
                self._stored_marks[boot_id] = end

    def _load(self) -> None:
        stream = self._spool.stream()
        if stream.info.boot_id != self._machine.boot_id:
            self._machine = self._new_machine(stream)
        machine = self._machine
        machine.set_stored_range(stream.floor, stream.limit)
        if (bad := machine.must_replace) is not None:
            machine.replace_first(self._stand_in(bad, stream))
        while machine.has_room and machine.end < machine.limit:
            if self._reader.boot_id != machine.boot_id or self._reader.seq != machine.end:
                self._reader, self._blocks = SpoolReader(self._spool, machine.boot_id, machine.end), iter(())
            block = next(self._blocks, None)
            if block is None:
                self._blocks = self._reader.take()
                block = next(self._blocks, None)
            if block is None:
                return
            machine.offer(block)

    def _stand_in(self, bad: OutgoingBlock, stream: StreamRange) -> bytes:
        count = bad.end_seq - bad.first_seq
        self._replaced += count
        event = Event(seq=0, stamp_ns=wall_clock_ns(), name="record_refused", detail=self._machine.refusal)
        return encode_block(stream.info, bad.first_seq, [event] * count)

    def _receive(self, socket: zmq.Socket[bytes]) -> None:
        before = self._machine.acked
        with contextlib.suppress(zmq.Again):
            while True:
                try:
                    message = deframe_message(socket.recv(zmq.NOBLOCK), _DECODER)
                except MessageRefused:
                    self._malformed += 1
                    continue
                self._machine.on_message(message, time.monotonic())
        if self._machine.acked > before:
            self._acked += self._machine.acked - before
            with contextlib.suppress(OSError):  # the segment is deleted with the next one
                self._spool.acknowledge(self._machine.boot_id, self._machine.acked)
