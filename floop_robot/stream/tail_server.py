"""Tail: the journal served to learner, gate, explorers and fleet manager, over ZeroMQ, beside ingest."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import zmq

from floop_robot.durable.framing import MessageRefused, deframe_message, frame_message
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.spec.errors import StorageError
from floop_robot.stream.codec import RecordKind
from floop_robot.stream.journal_reader import MAX_SCANNED, JournalReader
from floop_robot.stream.messages import (
    MAX_REQUEST_BYTES,
    AuditReply,
    AuditRequest,
    FetchBlocks,
    FetchedBlocks,
    FetchedSummary,
    FetchSummary,
    FromTailClient,
    RequestFailed,
)
from floop_robot.transport.listener import Listener
from floop_robot.transport.peer_guard import PeerLimits
from floop_robot.transport.zmq_sockets import receive

log = logging.getLogger(__name__)

MAX_WAIT_S = 5.0
"""Longest a request is held open."""
MAX_WAITING = 1024
"""Requests held open at a time; each client has one."""
MAX_AUDITS = 64
"""Clients that wait for an audit."""
MAX_BYTES = 8 * 2**20
"""Largest answer."""
QUEUE = 4
"""Answers that wait per peer: each client has one request under way, and repeats it at most."""
LIMITS = PeerLimits(unread_bytes=1 << 20, unsent_bytes=4 * MAX_BYTES)
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
        self._listener = Listener(endpoint, "ingest (tail)", LIMITS, queue=QUEUE, max_message_bytes=MAX_REQUEST_BYTES)
        self._socket = self._listener.socket
        self.endpoint = self._listener.endpoint
        """Where it listens (with the port that was found, if 0 was asked for)."""
        wake = f"inproc://tail-{id(self)}"
        self._woken, self._wake = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self._wake.setsockopt(zmq.SNDHWM, 1)  # one pending wake-up is enough
        self._woken.setsockopt(zmq.RCVHWM, 1)
        self._woken.bind(wake)
        self._wake.connect(wake)
        self._waiting: dict[bytes, _Waiting] = {}
        self._audits: dict[bytes, int] = {}
        """Who asked for an audit, and the number of the request."""
        self._auditor = ThreadPoolExecutor(1, "tail-audit")
        self._audit: Future[AuditReply | RequestFailed] | None = None
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
        self._auditor.shutdown()
        self._reader.close()
        self._listener.close()
        for socket in (self._wake, self._woken):
            socket.close(0)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        while not self._stop.is_set():
            ready = dict(poller.poll(self._pause_ms()))
            if self._woken in ready and receive(self._woken):
                self._serve_waiting()
            if self._socket in ready and (frames := self._listener.receive()):
                self._take(frames)
            self._expire()
            self._answer_audits()

    def _pause_ms(self) -> int:
        nearest = min((waiting.deadline for waiting in self._waiting.values()), default=float("inf"))
        return int(min(TICK_MS, max(0.0, (nearest - time.monotonic()) * 1000) + 1))

    def _take(self, frames: list[bytes]) -> None:
        peer = frames[0]
        try:
            request = deframe_message(frames[1] if len(frames) > 1 else b"", _DECODER)
        except MessageRefused:
            self._listener.refuse(peer)
            return  # the client asks again
        if isinstance(request, AuditRequest):
            self._audits[peer] = request.request
            while len(self._audits) > MAX_AUDITS:
                del self._audits[next(iter(self._audits))]
        elif isinstance(request, FetchSummary):
            self._summary(peer, request)
        elif not self._serve(peer, request, even_if_empty=request.wait_s <= 0):
            wait_s = min(request.wait_s, MAX_WAIT_S) if len(self._waiting) < MAX_WAITING else 0.0
            self._waiting[peer] = _Waiting(request, time.monotonic() + wait_s)

    def _answer_audits(self) -> None:
        """An audit reads the whole journal, so another thread makes it: one for all who ask."""
        if self._audit is not None and self._audit.done():
            found, self._audit = self._audit.result(), None
            asked, self._audits = self._audits, {}
            for peer, number in asked.items():
                self._listener.send([peer, frame_message(msgspec.structs.replace(found, request=number))])
        if self._audits and self._audit is None:
            self._audit = self._auditor.submit(self._make_audit)

    def _make_audit(self) -> AuditReply | RequestFailed:
        try:
            reader = JournalReader(self._path)
            try:
                return AuditReply(0, msgspec.json.encode(reader.audit(self._stop.is_set)))
            finally:
                reader.close()
        except StorageError as error:
            return RequestFailed(0, str(error))

    def _summary(self, peer: bytes, request: FetchSummary) -> None:
        try:
            found, removed_through = self._reader.summary(), self._reader.first_id() - 1
        except StorageError as error:
            if self._stop.is_set():
                return
            answer: RequestFailed | FetchedSummary = RequestFailed(request.request, str(error))
        else:
            answer = FetchedSummary(
                request.request,
                self._journal_id,
                found.through,
                found.state,
                max(found.recent_after, removed_through),
                removed_through,
            )
        self._listener.send([peer, frame_message(answer)])

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
            self._listener.send([peer, frame_message(RequestFailed(request.request, str(error)))])
            return True
        if not rows and not even_if_empty and through - request.after < MAX_SCANNED:
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
        self._listener.send([peer, frame_message(answer), *(payload for _, payload in sound)])
        return True
