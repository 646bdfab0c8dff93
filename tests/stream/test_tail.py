"""The tail: ranges, filters and waiting, beside an ingest that goes on."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import zmq

from floop_robot.durable.framing import deframe_message, frame_message
from floop_robot.spec.records import Source
from floop_robot.stream import journal_reader, tail_server
from floop_robot.stream.codec import RecordKind
from floop_robot.stream.journal import Journal
from floop_robot.stream.messages import FetchedBlocks, FromTailClient
from floop_robot.stream.tail_client import MAX_REPEATS, TailClient, TailError, TailFilter
from floop_robot.stream.tail_server import TailServer
from floop_robot.transport.zmq_sockets import bind_socket, last_endpoint
from tests.support.sample_records import episode_end, journal_entry
from tests.support.waiting import wait_for

ANY_PORT = "tcp://127.0.0.1:*"


class Served:
    """A journal and its tail server, in this process."""

    def __init__(self, folder: Path, endpoint: str = ANY_PORT) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.journal = Journal(folder / "journal.sqlite")
        self.server = TailServer(self.journal.path, self.journal.id, endpoint, self.context)
        self.rows = 0

    def add(self, count: int = 1, robot: str = "robot_1", source: Source = Source.ROBOT, end: bool = False) -> None:
        first = self.journal.high_water_mark(robot, "boot") or 0
        self.journal.append([journal_entry(first, count, robot, source, *([episode_end(1)] if end else []))])
        self.server.notify()

    def close(self) -> None:
        self.server.close()
        self.journal.close()
        self.context.term()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(served: Served) -> Iterator[TailClient]:
    made = TailClient(served.server.endpoint)
    yield made
    made.close()


def test_history_then_the_live_end(served: Served, client: TailClient) -> None:
    for _ in range(5):
        served.add()
    assert [b.id for b in client.poll(5)] == [1, 2, 3, 4, 5] and client.position == 5
    served.add()
    assert [b.id for b in client.poll(5)] == [6]


def test_a_waiting_client_gets_a_block_at_once(served: Served, client: TailClient) -> None:
    assert client.poll(0.01) == []
    delays = []
    for _ in range(20):
        client.poll(0.0)
        time.sleep(0.01)  # let the request arrive, so that it is the waiting that is measured
        start = time.monotonic()
        served.add()
        assert wait_for(lambda: client.poll(1.0))
        delays.append(time.monotonic() - start)
    assert sorted(delays)[10] < 0.1


def test_an_empty_journal_costs_the_asked_for_time(served: Served, client: TailClient) -> None:
    client.poll(0.0)
    start = time.monotonic()
    assert client.poll(0.3) == [] and 0.2 < time.monotonic() - start < 2


def test_kinds_and_sources_are_filtered_at_the_server(served: Served) -> None:
    served.add()
    served.add(2, end=True)
    served.add(3, "explorer_1", Source.EXPLORER)
    served.add(4, "explorer_1", Source.EXPLORER, end=True)
    ends = TailClient(served.server.endpoint, TailFilter(kinds=RecordKind.EPISODE_END))
    assert [b.id for b in ends.poll(5)] == [2, 4] and ends.position == 4
    explored = TailClient(served.server.endpoint, TailFilter(sources=(Source.EXPLORER,)))
    assert [b.id for b in explored.poll(5)] == [3, 4]
    assert {b.block.info.source for b in TailClient(served.server.endpoint, after=2).poll(5)} == {Source.EXPLORER}
    served.add()
    assert ends.poll(0.1) == [] and [b.id for b in explored.poll(0.1)] == []
    for each in (ends, explored):
        each.close()


def test_answers_are_bounded_and_nothing_is_skipped(served: Served) -> None:
    for _ in range(30):
        served.add(20)
    small = TailClient(served.server.endpoint, TailFilter(max_blocks=4, max_bytes=20_000))
    seen: list[int] = []
    while len(seen) < 30:
        batch = [b.id for b in small.poll(5)]
        assert 1 <= len(batch) <= 4
        seen += batch
    assert seen == list(range(1, 31))
    small.close()


def test_a_filter_that_fits_little_is_answered_in_parts(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_reader, "MAX_SCANNED", 10)
    monkeypatch.setattr(tail_server, "MAX_SCANNED", 10)
    for _ in range(35):
        served.add()
    served.add(end=True)
    ends = TailClient(served.server.endpoint, TailFilter(kinds=RecordKind.EPISODE_END))
    assert [b.id for b in ends.poll(5)] == [36] and ends.position == 36
    ends.close()


def test_many_who_ask_for_an_audit_at_once_get_one_and_hold_nobody_up(served: Served, client: TailClient) -> None:
    served.add(3)
    others = [TailClient(served.server.endpoint) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        audits = [pool.submit(other.audit, 20.0) for other in others]
        assert [b.id for b in client.poll(5)] == [1]
        assert [each.result().records for each in audits] == [3] * 4
    for other in others:
        other.close()


def test_a_slow_client_does_not_hold_the_others_up(served: Served, client: TailClient) -> None:
    sleeper = TailClient(served.server.endpoint)
    sleeper.poll(0.0)  # asks, and never reads
    for _ in range(50):
        served.add()
    seen: list[int] = []
    while len(seen) < 50:
        seen += [b.id for b in client.poll(5)]
    assert seen == list(range(1, 51))
    assert sleeper.poll(5)
    sleeper.close()


def test_a_client_resumes_by_position(served: Served, client: TailClient) -> None:
    for _ in range(6):
        served.add()
    client.poll(5)
    served.add()
    again = TailClient(served.server.endpoint, after=client.position, journal_id=client.journal_id)
    assert [b.id for b in again.poll(5)] == [7]
    again.close()


def test_another_journal_is_noticed(served: Served) -> None:
    served.add()
    astray = TailClient(served.server.endpoint, after=0, journal_id="another")
    with pytest.raises(TailError, match="replaced"):
        astray.poll(5)
    astray.close()


def test_a_journal_that_ends_before_what_was_read_is_noticed(served: Served) -> None:
    served.add()
    ahead = TailClient(served.server.endpoint, after=5)
    with pytest.raises(TailError, match="restored from a backup"):
        ahead.poll(5)
    ahead.close()


def test_damaged_rows_are_left_out_and_counted(served: Served, client: TailClient) -> None:
    for _ in range(3):
        served.add()
    with sqlite3.connect(served.journal.path) as db:
        db.execute("UPDATE blocks SET payload = x'0102' WHERE id = 2")
    db.close()
    assert [b.id for b in client.poll(5)] == [1, 3] and client.damaged == 1
    assert client.audit().damaged == 1


def test_a_client_started_before_the_server_finds_it(tmp_path: Path) -> None:
    probe = Served(tmp_path / "a")
    endpoint = probe.server.endpoint
    probe.close()
    early = TailClient(endpoint)
    assert early.poll(0.1) == []
    served = Served(tmp_path / "b", endpoint)
    served.add()
    assert wait_for(lambda: early.poll(0.2), 10)
    early.close()
    served.close()


def test_an_audit_without_ingest_is_one_line(served: Served) -> None:
    lonely = TailClient("tcp://127.0.0.1:1")
    with pytest.raises(TailError, match="is it running"):
        lonely.audit(0.2)
    lonely.close()


class Answering:
    """A tail server by hand: answers each request with the next of `answers`, made from the request's number."""

    def __init__(self, *answers: Callable[[int], list[bytes]]) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = bind_socket(self.context, zmq.ROUTER, "tcp://127.0.0.1:0", "the test")
        self.endpoint = last_endpoint(self._socket)
        self._answers = list(answers)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._answers and self._socket.poll(20_000):
            peer, data = self._socket.recv_multipart()
            request = deframe_message(data, REQUESTS).request
            self._socket.send_multipart([peer, *self._answers.pop(0)(request)])

    def close(self) -> None:
        self._thread.join()
        self.context.destroy(1000)


REQUESTS: msgspec.msgpack.Decoder[FromTailClient] = msgspec.msgpack.Decoder(FromTailClient)
SOUND = journal_entry(0, 3).payload
FLIPPED = SOUND[:-1] + bytes([SOUND[-1] ^ 1])


def fetched(request: int, *payloads: bytes, ids: tuple[int, ...] = (1, 2)) -> list[bytes]:
    return [frame_message(FetchedBlocks(request, "journal", ids, ids[-1])), *payloads]


def test_a_block_damaged_on_its_way_is_asked_for_again() -> None:
    server = Answering(lambda r: fetched(r, SOUND, FLIPPED), lambda r: fetched(r, SOUND, SOUND))
    client = TailClient(server.endpoint)
    assert [b.id for b in client.poll(20.0)] == [1, 2] and (client.damaged, client.position) == (0, 2)
    client.close()
    server.close()


def test_a_block_that_stays_damaged_is_left_out_and_counted() -> None:
    server = Answering(*[lambda r: fetched(r, SOUND, FLIPPED)] * (MAX_REPEATS + 1))
    client = TailClient(server.endpoint)
    assert [b.id for b in client.poll(20.0)] == [1] and (client.damaged, client.position) == (1, 2)
    client.close()
    server.close()


def test_answers_that_are_none_are_skipped_until_the_request_is_repeated() -> None:
    server = Answering(
        lambda r: [b"????no message"],
        lambda r: fetched(r - 1, SOUND, SOUND),
        lambda r: fetched(r, SOUND),
        lambda r: fetched(r, SOUND, SOUND),
    )
    client = TailClient(server.endpoint)
    assert wait_for(lambda: [b.id for b in client.poll(0.1)]) == [1, 2]
    client.close()
    server.close()
