"""ReportFeed: what robots reported of their work, followed in the journal's tail by a thread of its own.

Gate and explorers learn of shifted work through this and nothing else: episode ends of robots on their deployed
policy, without the simulator's truth.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

import msgspec

from floop_robot.spec.records import ActMode, EpisodeEnd, Source
from floop_robot.stream.codec import Kind
from floop_robot.stream.tail_client import TailClient, TailError, TailFilter

log = logging.getLogger(__name__)

_WAIT_S = 0.2
_QUEUED = 4096
"""Episodes; a reader that is this far behind lets the tail wait: the journal keeps the rest."""


class ReportFeed:
    """Follows the journal from its beginning, across restarts of ingest; a context manager."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._ends: queue.Queue[EpisodeEnd | None] = queue.Queue(_QUEUED)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="report-feed")

    def __enter__(self) -> ReportFeed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def drain(self, take: Callable[[EpisodeEnd], None], restart: Callable[[], None] = lambda: None) -> None:
        """Hand over every episode end that came since; `restart` is called where another journal begins."""
        while True:
            try:
                end = self._ends.get_nowait()
            except queue.Empty:
                return
            if end is None:
                restart()
            else:
                take(end)

    def _follow(self) -> None:
        wanted = TailFilter(kinds=Kind.EPISODE_END, sources=(int(Source.ROBOT),))
        while not self._stop.is_set():
            client = TailClient(self._endpoint, wanted)
            try:
                while not self._stop.is_set():
                    for found in client.poll(_WAIT_S):
                        for end in found.block.ends:
                            if end.act_mode is ActMode.MEAN:
                                self._put(msgspec.structs.replace(end, truth=None))
            except TailError as error:
                log.warning("reports: %s", error)
                self._put(None)
                self._stop.wait(1.0)
            finally:
                client.close()

    def _put(self, end: EpisodeEnd | None) -> None:
        while not self._stop.is_set():
            try:
                self._ends.put(end, timeout=_WAIT_S)
                return
            except queue.Full:
                continue
