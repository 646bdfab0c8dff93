"""FleetServer: the fleet manager's two sockets around a `FleetRequestHandler`; one thread, the caller's."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Protocol

import msgspec
import zmq

from floop_robot.bundle.delivery import TOPIC, Announcement, Refusal
from floop_robot.deploy.messages import REQUESTS, GetStatus, Reply, Request
from floop_robot.deploy.registry import JournalPosition, LiveEpisode, LiveLabel
from floop_robot.deploy.request_handler import FleetRequestHandler
from floop_robot.durable.framing import MessageDamaged, MessageRefused, deframe_message, frame_message
from floop_robot.spec.errors import StorageError
from floop_robot.transport.zmq_sockets import Context, bind_socket, last_endpoint, receive

log = logging.getLogger(__name__)

_POLL_MS = 20
_QUEUE = 100
"""Messages per peer: a robot that is so far behind reads the snapshot when it is back."""
_REQUESTS_PER_TURN = 64
"""So that a busy peer can't keep episodes and decisions waiting."""


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

    def __init__(self, fleet: FleetRequestHandler, announcements: str, rpc: str) -> None:
        """`announcements`, `rpc`: endpoints to bind; raises `BindError`."""
        self._fleet = fleet
        self._context: Context = zmq.Context()
        self.dropped = 0
        """Messages that did not decode."""
        self._batch: LiveBatch | None = None
        self._trouble = ""
        try:
            self._publisher = bind_socket(self._context, zmq.PUB, announcements, "the fleet manager", queue=_QUEUE)
            self._router = bind_socket(self._context, zmq.ROUTER, rpc, "the fleet manager", queue=_QUEUE)
        except BaseException:
            self._context.destroy(0)
            raise

    @property
    def endpoints(self) -> tuple[str, str]:
        """What was bound, with the ports that the system chose for port 0."""
        return last_endpoint(self._publisher), last_endpoint(self._router)

    def close(self) -> None:
        """Close both ports."""
        self._context.destroy(0)

    def run(self, feed: EpisodeFeed, stop: threading.Event) -> None:
        """Serve until `stop`; raises `RegistryFenced` when a later fleet manager took over."""
        while not stop.is_set():
            self._router.poll(_POLL_MS)
            self._serve_requests()
            self._broadcast()
            self._look_after_versions(feed)
            self._broadcast()

    def _look_after_versions(self, feed: EpisodeFeed) -> None:
        trouble = ""
        try:
            self._take_episodes(feed)
            self._fleet.tick()
        except StorageError as error:
            # A full disk must not end the fleet manager: robots go on, and it goes on when there is space.
            trouble = str(error)
        if trouble != self._trouble:
            log.warning("fleet manager: %s", trouble or "the registry can be written again")
        self._trouble = trouble

    def _take_episodes(self, feed: EpisodeFeed) -> None:
        while True:
            self._batch = self._batch or feed.take()
            if self._batch is None:
                return
            self._fleet.observe(self._batch.episodes, self._batch.read, self._batch.labels)
            self._batch = None  # only now: what could not be stored is tried again

    def _serve_requests(self) -> None:
        for _ in range(_REQUESTS_PER_TURN):
            frames = receive(self._router)
            if not frames:
                return
            if len(frames) != 3:
                self.dropped += 1
                continue
            peer, request_id, payload = frames
            try:
                reply = self._answer(deframe_message(payload, REQUESTS))
            except MessageDamaged:
                self.dropped += 1
                continue
            except MessageRefused as error:  # it arrived as it was sent: asking again would not help
                self.dropped += 1
                reply = Refusal(reason=str(error))
            with contextlib.suppress(zmq.ZMQError):  # the peer went away
                self._router.send_multipart([peer, request_id, frame_message(reply)], zmq.NOBLOCK)
            self._broadcast()

    def _answer(self, request: Request) -> Reply:
        if isinstance(request, GetStatus):
            return self._fleet.status(self.dropped, self._trouble)
        return self._fleet.handle(request)

    def _broadcast(self) -> None:
        for announcement in self._fleet.take_announcements():
            self._send(announcement)

    def _send(self, announcement: Announcement) -> None:
        self._publisher.send_multipart([TOPIC, frame_message(announcement)])
