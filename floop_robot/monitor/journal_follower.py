"""JournalFollower: what robots reported of their work, followed in the journal's tail by a thread of its own.

Gate and explorers learn of shifted tasks through this and nothing else: episode ends of robots on their deployed
policy, without the simulator's truth, and the labels that correct them.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator

import msgspec

from floop_robot.spec.records import ActMode, EpisodeEnd, Label, Source
from floop_robot.stream.codec import Block, RecordKind
from floop_robot.stream.tail_client import TailClient, TailError, TailFilter

log = logging.getLogger(__name__)

_WAIT_S = 0.2
_QUEUED = 4096
"""Records; a reader that is this far behind lets the tail wait: the journal keeps the rest."""


RecordHandler = Callable[[EpisodeEnd | Label, str, str], None]
"""Takes a record, and robot and boot of the stream that carried it."""


class _Reported(msgspec.Struct, frozen=True):
    record: EpisodeEnd | Label
    robot: str
    boot_id: str


class JournalFollower:
    """Follows the journal from its beginning, across restarts of ingest; a context manager."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._reports: queue.Queue[_Reported | None] = queue.Queue(_QUEUED)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="report-feed")

    def __enter__(self) -> JournalFollower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def drain(self, take: RecordHandler, restart: Callable[[], None] = lambda: None) -> None:
        """Hand over every episode end and label that came since; `restart` is called where another journal begins."""
        while True:
            try:
                report = self._reports.get_nowait()
            except queue.Empty:
                return
            if report is None:
                restart()
            else:
                take(report.record, report.robot, report.boot_id)

    def _follow(self) -> None:
        wanted = TailFilter(kinds=RecordKind.EPISODE_END | RecordKind.LABEL, sources=(int(Source.ROBOT),))
        while not self._stop.is_set():
            client = TailClient(self._endpoint, wanted)
            try:
                while not self._stop.is_set():
                    for found in client.poll(_WAIT_S):
                        for report in _reports(found.block):
                            self._put(report)
            except TailError as error:
                log.warning("reports: %s", error)
                self._put(None)
                self._stop.wait(1.0)
            finally:
                client.close()

    def _put(self, report: _Reported | None) -> None:
        while not self._stop.is_set():
            try:
                self._reports.put(report, timeout=_WAIT_S)
                return
            except queue.Full:
                continue


def _reports(block: Block) -> Iterator[_Reported]:
    robot, boot_id = block.info.robot, block.info.boot_id
    for end in block.ends:
        if end.act_mode is ActMode.MEAN:
            yield _Reported(msgspec.structs.replace(end, truth=None), robot, boot_id)
    for label in block.labels:
        yield _Reported(label, robot, boot_id)
