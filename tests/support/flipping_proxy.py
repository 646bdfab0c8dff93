"""A TCP proxy that damages, delays nothing, cuts and falls silent: what a bad network does to a link."""

from __future__ import annotations

import contextlib
import random
import socket
import threading


class FlippingProxy:
    """Forwards to `port` on loopback, flipping one bit in every `every`-th chunk of at least 64 bytes."""

    def __init__(self, port: int, every: int, seed: int = 1) -> None:
        self._target, self._every, self._random = port, every, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.flipped = 0
        self._silent = threading.Event()
        """Of the connections of now; ever new ones get another."""
        self._links: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Drop every connection."""
        links, self._links = self._links, []
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    def silence(self) -> None:
        """Let what the connections of now say go lost, their end included, as when a host vanishes; new ones work."""
        self._silent.set()
        self._silent = threading.Event()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._links += [near, far]
            silent = self._silent
            for a, b, flips in ((near, far, True), (far, near, False)):
                thread = threading.Thread(target=self._pump, args=(a, b, flips, silent), name="proxy-pump", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, flips: bool, silent: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if silent.is_set():
                    continue
                if flips and len(data) > 64 and self._random.randrange(self._every) == 0:
                    damaged = bytearray(data)
                    at = self._random.randrange(64, len(data))
                    damaged[at] ^= 1 << self._random.randrange(8)
                    data = bytes(damaged)
                    self.flipped += 1
                sink.sendall(data)
        for end in (source,) if silent.is_set() else (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
