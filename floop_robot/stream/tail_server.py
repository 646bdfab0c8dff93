"""Tail: the journal served to learner, gate, explorers and fleet manager, over ZeroMQ, beside ingest."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import msgspec
import zmq

from floop_robot.durable.framing import Message, MessageRefused, deframe_message, frame_message
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.spec.errors import StorageError
from floop_robot.stream.codec import RecordKind
from floop_robot.stream.journal import JournalReader
from floop_robot.stream.messages import (
    MAX_INGEST_MESSAGE_BYTES,
    AuditReply,
    AuditRequest,
    FetchBlocks,
    FetchedBlocks,
    FetchedSummary,
    FetchSummary,
    FromTailClient,
    RequestFailed,
)
from floop_robot.transport.zmq_sockets import bind_socket, receive

log = logging.getLogger(__name__)

MAX_WAIT_S = 5.0
"""Longest a request is held open."""
MAX_WAITING = 1024
"""Requests held open at a time; each client has one."""
MAX_BYTES = 8 * 2**20
"""Largest answer."""
TICK_MS = 200
"""How often it looks whether it is to stop."""

_DECODER: msgspec.msgpack.Decoder[FromTailClient] = msgspec.msgpack.Decoder(FromTailClient)


class _Waiting(msgspec.Struct, frozen=True):
    request: FetchBlocks
    deadline: float


class TailServer:
    """Answers requests from a thread with its own reading connection; ingest calls `notify` after each commit."""

    def __init__(self, path: Path, journal_id: str, endpoint: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._path, self._journal_id = path, journal_id
        self._reader = JournalReader(path)
        self._socket = bind_socket(context, zmq.ROUTER, endpoint, "ingest", max_message_bytes=MAX_INGEST_MESSAGE_BYTES)
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where it listens (with the port that was found, if 0 was asked for)."""
        wake = f"inproc://tail-{id(self)}"
        self._woken, self._wake = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self._wake.setsockopt(zmq.SNDHWM, 1)  # one pending wake-up is enough
        self._woken.setsockopt(zmq.RCVHWM, 1)
        self._woken.bind(wake)
        self._wake.connect(wake)
        self._waiting: dict[bytes, _Waiting] = {}
        self._stop = threading.Event()
        self._thread = OwnedThread(self._run, "tail-server", self._stop)
        self._thread.start()

    def notify(self) -> None:
        """There are new blocks; called by one thread."""
        try:
            self._wake.send(b"", zmq.NOBLOCK)
        except zmq.Again:
            return

    def close(self) -> None:
        """End the thread and stop listening."""
        self._stop.set()
        self.notify()
        self._reader.interrupt()
        self._thread.join()
        self._reader.close()
        for socket in (self._wake, self._woken, self._socket):
            socket.close(0)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        while not self._stop.is_set():
            ready = dict(poller.poll(self._pause_ms()))
            if self._woken in ready and receive(self._woken):
                self._serve_waiting()
            if self._socket in ready and (frames := receive(self._socket)):
                self._take(frames)
            self._expire()

    def _pause_ms(self) -> int:
        nearest = min((waiting.deadline for waiting in self._waiting.values()), default=float("inf"))
        return int(min(TICK_MS, max(0.0, (nearest - time.monotonic()) * 1000) + 1))

    def _take(self, frames: list[bytes]) -> None:
        peer = frames[0]
        try:
            request = deframe_message(frames[1] if len(frames) > 1 else b"", _DECODER)
        except MessageRefused:
            return  # the client asks again
        if isinstance(request, AuditRequest):
            self._audit(peer, request)
        elif isinstance(request, FetchSummary):
            self._summary(peer, request)
        elif not self._serve(peer, request, even_if_empty=request.wait_s <= 0):
            wait_s = min(request.wait_s, MAX_WAIT_S) if len(self._waiting) < MAX_WAITING else 0.0
            self._waiting[peer] = _Waiting(request, time.monotonic() + wait_s)

    def _audit(self, peer: bytes, request: AuditRequest) -> None:
        try:
            answer: Message = AuditReply(request.request, msgspec.json.encode(self._reader.audit()))
        except StorageError as error:
            if self._stop.is_set():
                return  # interrupted by `close`; the client asks the next ingest
            answer = RequestFailed(request.request, str(error))
        self._socket.send_multipart([peer, frame_message(answer)])

    def _summary(self, peer: bytes, request: FetchSummary) -> None:
        try:
            found, removed_through = self._reader.summary(), self._reader.first_id() - 1
        except StorageError as error:
            if self._stop.is_set():
                return
            answer: Message = RequestFailed(request.request, str(error))
        else:
            answer = FetchedSummary(
                request.request,
                self._journal_id,
                found.through,
                found.state,
                max(found.recent_after, removed_through),
                removed_through,
            )
        self._socket.send_multipart([peer, frame_message(answer)])

    def _serve_waiting(self) -> None:
        for peer, waiting in list(self._waiting.items()):
            if self._serve(peer, waiting.request, even_if_empty=False):
                del self._waiting[peer]

    def _expire(self) -> None:
        now = time.monotonic()
        for peer, waiting in list(self._waiting.items()):
            if waiting.deadline <= now:
                del self._waiting[peer]
                self._serve(peer, waiting.request, even_if_empty=True)

    def _serve(self, peer: bytes, request: FetchBlocks, *, even_if_empty: bool) -> bool:
        limit = min(request.max_bytes, MAX_BYTES)
        try:
            rows, through = self._reader.read(
                request.after, request.max_blocks, limit, RecordKind(request.kinds & RecordKind.ALL), request.sources
            )
            removed_through = self._reader.first_id() - 1  # after the reading: what leaves meanwhile is said, too
        except StorageError as error:
            if self._stop.is_set():
                return True
            log.error("%s", error)
            self._socket.send_multipart([peer, frame_message(RequestFailed(request.request, str(error)))])
            return True
        if not rows and not even_if_empty:
            return False
        sound = [(row.id, row.payload) for row in rows if row.payload is not None]
        if len(sound) < len(rows):
            log.error("journal %s: %d damaged blocks left out", self._path, len(rows) - len(sound))
        answer = FetchedBlocks(
            request=request.request,
            journal_id=self._journal_id,
            ids=tuple(number for number, _ in sound),
            through=through,
            damaged=len(rows) - len(sound),
            removed_through=removed_through,
        )
        self._socket.send_multipart([peer, frame_message(answer), *(payload for _, payload in sound)])
        return True
