"""ZapHandler: says who may connect to a bound socket, before ZeroMQ reads a message of theirs.

ZeroMQ asks it about each new connection (ZAP, https://rfc.zeromq.org/spec/27/). Connections that are there already are
not asked about.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Final

import zmq

from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.transport.zmq_sockets import Context, receive

log = logging.getLogger(__name__)

DOMAIN: Final = "floop"
"""ZeroMQ asks about the connections of sockets that have a domain, whichever it is."""
MAX_REFUSED: Final = 1024
"""Addresses that are refused at a time; the one refused first makes room."""
_POLL_MS: Final = 50
"""How often it looks whether it is to end."""
_ENDPOINT: Final = "inproc://zeromq.zap.01"
_ADMITTED: Final = b"200"
_REFUSED: Final = b"300"
"""Hung up on without a word, so the peer tries again. After 400 libzmq's own client never does (4.3.5)."""


class ZapHandler:
    """Admits every address that was not refused lately. It owns a context: ZeroMQ asks one handler in each."""

    def __init__(self, what: str, refused_s: float) -> None:
        """`what` names the process in the log."""
        self._what, self._refused_s = what, refused_s
        self._refused_until: OrderedDict[str, float] = OrderedDict()  # refused last comes last
        """Written by the thread of the bound socket, and read by the handler's."""
        self.context: Context = zmq.Context()
        """For the sockets whose connections it is asked about."""
        self._socket = self.context.socket(zmq.ROUTER)
        self._socket.bind(_ENDPOINT)  # before any other: without a handler all are admitted
        self._stop = threading.Event()
        self._thread = OwnedThread(self._run, "zap-handler", self._stop)
        self._thread.start()

    def close(self) -> None:
        """End the thread and the context. Its sockets must be closed before."""
        self._stop.set()
        self._thread.join()
        self._socket.close(0)
        self.context.term()

    def refuse(self, address: str, why: str) -> None:
        """Let nobody connect from this address for a while."""
        self._refused_until[address] = time.monotonic() + self._refused_s
        self._refused_until.move_to_end(address)
        while len(self._refused_until) > MAX_REFUSED:
            self._refused_until.popitem(last=False)
        log.warning("%s: no new connections from %s for %g s: %s", self._what, address, self._refused_s, why)

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(_POLL_MS) and (frames := receive(self._socket)):
                self._answer(frames)

    def _answer(self, frames: list[bytes]) -> None:
        asker, _, version, request_id, _domain, address, *_ = frames
        is_refused = time.monotonic() < self._refused_until.get(address.decode(), 0.0)
        no_user, no_text, no_metadata = b"", b"", b""
        answer = [version, request_id, _REFUSED if is_refused else _ADMITTED, no_text, no_user, no_metadata]
        self._socket.send_multipart([asker, b"", *answer])
