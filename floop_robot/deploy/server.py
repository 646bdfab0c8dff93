"""FleetServer: the fleet manager's loop. Its two sockets and its process's threads fill one queue of requests."""

from __future__ import annotations

import functools
import logging
import threading
from concurrent.futures import Future
from typing import Protocol

import msgspec
import zmq

from floop_robot.bundle.delivery import MAX_SENT_BUNDLE_BYTES, TOPIC, Refusal
from floop_robot.deploy.messages import REQUESTS, GetFleetStatus, Reply, Request
from floop_robot.deploy.registry import JournalPosition, LiveEpisode, LiveLabel
from floop_robot.deploy.request_handler import FleetRequestHandler
from floop_robot.deploy.request_queue import MAX_QUEUED, RequestQueue
from floop_robot.durable.framing import MessageDamaged, MessageRefused, deframe_message, frame_message
from floop_robot.spec.errors import StorageError
from floop_robot.transport.listener import Listener, Publisher
from floop_robot.transport.peer_guard import PeerLimits
from floop_robot.transport.zmq_sockets import Context

log = logging.getLogger(__name__)

_POLL_MS = 20
_QUEUE = 32
"""Messages per peer: a robot that is further behind fetches its version when it is back."""
_REQUESTS_PER_TURN = 16
"""Others stay in ZeroMQ's queues, which take turns: so whoever asks little is not behind whoever asks much."""
_LARGE_BYTES = 64 * 1024
"""Longer requests hold a bundle; only one of them is taken in a turn, so that heartbeats need not wait for several."""
_LIMITS = PeerLimits(unread_bytes=MAX_SENT_BUNDLE_BYTES + (2 << 20), unsent_bytes=2 * MAX_SENT_BUNDLE_BYTES)


class LiveBatch(msgspec.Struct, frozen=True):
    """Episodes and labels from the journal, and how far it was read with them."""

    episodes: tuple[LiveEpisode, ...]
    read: JournalPosition
    labels: tuple[LiveLabel, ...] = ()


class EpisodeFeed(Protocol):
    """Where live episodes come from."""

    def take(self) -> LiveBatch | None:
        """The next batch, None when there is none yet; never waits."""
        ...


class FleetServer:
    """Binds both ports; `run` serves until told to stop."""

    def __init__(
        self, fleet: FleetRequestHandler, announcements: str, rpc: str, requests: RequestQueue | None = None
    ) -> None:
        """Bind `announcements` and `rpc`; raises `BindError`. `requests`: shared with threads of this process."""
        self._fleet = fleet
        self._requests = requests or RequestQueue()
        self._context: Context = zmq.Context()
        self.dropped = 0
        """Messages that did not decode."""
        self._batch: LiveBatch | None = None
        self._error = ""
        try:
            self._publisher = Publisher(self._context, announcements, "the fleet manager", queue=_QUEUE)
            self._listener = Listener(
                rpc,
                "the fleet manager",
                _LIMITS,
                queue=_QUEUE,
                max_message_bytes=MAX_SENT_BUNDLE_BYTES,
            )
        except BaseException:
            self._context.destroy(0)
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._listener.socket, zmq.POLLIN)
        self._poller.register(self._requests, zmq.POLLIN)

    @property
    def endpoints(self) -> tuple[str, str]:
        """What was bound, with the ports that the system chose for port 0."""
        return self._publisher.endpoint, self._listener.endpoint

    def close(self) -> None:
        """Cancel what waits and close both ports."""
        self._requests.close()
        self._listener.close()
        self._publisher.close()
        self._context.destroy(0)

    def run(self, feed: EpisodeFeed, stop: threading.Event) -> None:
        """Serve until `stop`; raises `RegistryFenced` when a later fleet manager took over."""
        while not stop.is_set():
            self._poller.poll(_POLL_MS)
            self._receive_requests()
            self._serve_requests()
            self._update_versions(feed)
            self._broadcast()

    def _receive_requests(self) -> None:
        """Queue what came by ZeroMQ; the peer gets its answer when the request was served."""
        for _ in range(_REQUESTS_PER_TURN - (MAX_QUEUED - self._requests.room)):
            frames = self._listener.receive()
            if not frames:
                return
            if len(frames) != 3:
                self._drop(frames[0])
                continue
            peer, request_id, payload = frames
            try:
                future = self._requests.submit(deframe_message(payload, REQUESTS))
            except MessageDamaged:
                self._drop(peer)
            except MessageRefused as error:  # it arrived as it was sent: a repeat would not help
                self._drop(peer)
                self._reply(peer, request_id, Refusal(reason=str(error)))
            else:
                future.add_done_callback(functools.partial(self._reply_when_done, peer, request_id))
            if len(payload) > _LARGE_BYTES:
                return

    def _drop(self, peer: bytes) -> None:
        self.dropped += 1
        self._listener.refuse(peer)

    def _serve_requests(self) -> None:
        self._broadcast()
        for _ in range(_REQUESTS_PER_TURN):
            if not self._requests.serve_one(self._answer):
                return
            self._broadcast()

    def _answer(self, request: Request) -> Reply:
        if isinstance(request, GetFleetStatus):
            return self._fleet.status(self.dropped, self._error)
        return self._fleet.handle(request)

    def _reply_when_done(self, peer: bytes, request_id: bytes, future: Future[Reply]) -> None:
        """No reply for a request that was cancelled or failed: its peer asks again, perhaps the next fleet manager."""
        if not future.cancelled() and future.exception() is None:
            self._reply(peer, request_id, future.result())

    def _reply(self, peer: bytes, request_id: bytes, reply: Reply) -> None:
        self._listener.send([peer, request_id, frame_message(reply)])

    def _update_versions(self, feed: EpisodeFeed) -> None:
        error = ""
        try:
            self._take_episodes(feed)
            self._fleet.tick()
        except StorageError as failure:
            # A full disk must not end the fleet manager: it goes on when there is space.
            error = str(failure)
        if error != self._error:
            log.warning("fleet manager: %s", error or "the registry can be written again")
        self._error = error

    def _take_episodes(self, feed: EpisodeFeed) -> None:
        while True:
            self._batch = self._batch or feed.take()
            if self._batch is None:
                return
            self._fleet.observe(self._batch.episodes, self._batch.read, self._batch.labels)
            self._batch = None  # not before: what could not be stored is tried again

    def _broadcast(self) -> None:
        for announcement in self._fleet.take_announcements():
            self._publisher.send([TOPIC, frame_message(announcement)])
