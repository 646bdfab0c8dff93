"""Records of a robot come from that robot alone: ingest believes the first secret that a name comes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import zmq

from floop_robot.durable.framing import deframe_message, frame_message
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.stream.codec import encode_block
from floop_robot.stream.ingest import IngestStats
from floop_robot.stream.messages import Ack, Data, FromIngest, Hello, HelloRequest, Rejection
from floop_robot.stream.uploader import RecordUploader
from tests.support.sample_records import stream_info, transition
from tests.support.stream_processes import IngestProcess, rows_by_stream
from tests.support.waiting import wait_for

OWN, OTHER = "a" * 64, "b" * 64
ANSWERS: msgspec.msgpack.Decoder[FromIngest] = msgspec.msgpack.Decoder(FromIngest)


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[IngestProcess]:
    process = IngestProcess(tmp_path)
    yield process
    process.kill()


def robot(folder: Path, ingest: IngestProcess, secret: str) -> RecordUploader:
    endpoint = ingest.config.endpoints.ingest
    return RecordUploader(folder, stream_info("robot_1"), endpoint, sync_interval_s=0.01, secret=secret)


def ask(peer: zmq.Socket[bytes], message: Hello | Data, payload: bytes = b"") -> FromIngest:
    peer.send_multipart([frame_message(message), payload])
    assert peer.poll(10_000)
    return deframe_message(peer.recv(), ANSWERS)


def test_a_stranger_records_nothing_under_a_robots_name(tmp_path: Path, ingest: IngestProcess) -> None:
    with closing(robot(tmp_path / "own", ingest, OWN)) as own:
        own.put(transition(0))
        assert own.drain(20)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        with context.socket(zmq.DEALER) as peer:
            peer.connect(ingest.config.endpoints.ingest)
            boot = own.info.boot_id
            forged = encode_block(stream_info("robot_1", boot), 1, [transition(0)])
            answer = ask(peer, Hello("robot_1", boot, 1, 1, secret=OTHER))
            assert isinstance(answer, Rejection) and "delete" in answer.reason and "senders/robot_1" in answer.reason
            assert isinstance(ask(peer, Data("robot_1", boot, 1, 2), forged), HelloRequest)
            assert isinstance(ask(peer, Hello("mallory", "m", 0, 2)), Ack)  # a name of its own opens no other
            assert isinstance(ask(peer, Data("robot_1", boot, 1, 2), forged), HelloRequest)
        context.term()
        own.put(transition(1))
        assert own.drain(20) and own.stats().sender.error == ""
    assert rows_by_stream(ingest.journal) == {("robot_1", boot): [0, 1]}
    wait_for(
        lambda: "times nothing was recorded as robot_1" in str(read_stats(ingest.run_dir, "ingest", IngestStats)),
        what="a note",
    )


def test_a_robot_with_another_secret_keeps_its_records_until_a_person_lets_it_in(
    tmp_path: Path, ingest: IngestProcess
) -> None:
    with closing(robot(tmp_path / "old", ingest, "")) as old:  # of an earlier floop
        old.put(transition(0))
        assert old.drain(20)
    with closing(robot(tmp_path / "first", ingest, OWN)) as first:
        first.put(transition(0))
        assert first.drain(20)
    ingest.kill()
    ingest.start()
    with closing(robot(tmp_path / "second", ingest, OTHER)) as second:
        second.put(transition(0))
        error = wait_for(lambda: second.stats().sender.error, what="the refusal")
        assert error.startswith("not recorded as robot_1: it came without the secret of robot_1")
        (ingest.run_dir / "secrets" / "senders" / "robot_1").unlink()
        assert second.drain(20) and second.stats().sender.error == ""
    with closing(robot(tmp_path / "older", ingest, "")) as old:
        old.put(transition(0))
        wait_for(lambda: old.stats().sender.error, what="the refusal")
    assert len(rows_by_stream(ingest.journal)) == 3
