"""The ingest process and what speaks to it, over real sockets, under bad networks, full disks and strangers."""

from __future__ import annotations

import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from floop_robot.durable.framing import deframe_message, frame_message
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.spec.errors import StorageError
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.ingest import MAX_STREAMS, Ingest, IngestStats
from floop_robot.stream.journal import Journal
from floop_robot.stream.journal_reader import JournalReader
from floop_robot.stream.messages import Compared, Data, FromIngest, Hello
from floop_robot.stream.protocol import OutgoingBlock
from floop_robot.stream.uploader import RecordUploader
from tests.support.flipping_proxy import FlippingProxy
from tests.support.sample_records import episode_end, label, stream_info, transition
from tests.support.stream_processes import IngestProcess, rows_by_stream
from tests.support.waiting import wait_for


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[IngestProcess]:
    process = IngestProcess(tmp_path)
    yield process
    assert process.process is not None
    process.process.kill()
    process.process.wait()


def uploader(folder: Path, ingest: IngestProcess, robot: str = "robot_1", endpoint: str = "") -> RecordUploader:
    return RecordUploader(
        folder / robot, stream_info(robot), endpoint or ingest.config.endpoints.ingest, sync_interval_s=0.01
    )


def test_records_arrive_and_a_stop_is_clean_and_quick(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    for i in range(100):
        out.put(transition(i))
    assert out.drain(20) and out.stats().depth == 0 and out.stats().sender.acked == 100
    start = time.monotonic()
    assert ingest.stop() == 0 and time.monotonic() - start < 3
    out.close()
    assert rows_by_stream(ingest.journal) == {("robot_1", out.info.boot_id): list(range(100))}


def test_an_uploader_without_ingest_stores_everything_and_its_successor_delivers(tmp_path: Path) -> None:
    ingest = IngestProcess(tmp_path)
    ingest.kill()
    first = uploader(tmp_path, ingest)
    for i in range(50):
        first.put(transition(i))
    assert not first.drain(0.3) and not first.stats().sender.is_connected
    first.close()
    ingest.start()
    second = uploader(tmp_path, ingest)
    assert second.info.boot_id == first.info.boot_id
    for i in range(50, 60):
        second.put(transition(i))
    assert second.drain(20)
    second.close()
    assert ingest.stop() == 0
    assert rows_by_stream(ingest.journal) == {("robot_1", first.info.boot_id): list(range(60))}


def test_a_port_in_use_is_one_line_and_no_journal_is_left_locked(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    out.put(transition(0))
    assert out.drain(20)
    other = ingest.path.with_name("other.yaml")
    other.write_text(ingest.path.read_text().replace(str(ingest.run_dir), str(tmp_path / "other")))
    command = [sys.executable, "-m", "floop_robot.services.ingest", "--config", str(other)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("ingest: ") and "in use" in line and ingest.config.endpoints.ingest in line
    command[-1] = str(ingest.path)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "in use by another process" in done.stderr and done.stderr.count("\n") == 1
    out.put(transition(1))
    assert out.drain(10)  # the running one was not disturbed
    out.close()


def test_a_full_disk_leaves_records_on_the_robot_and_is_reported(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    out.put(transition(0))
    assert out.drain(20)
    assert ingest.process is not None
    pid = ingest.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    for i in range(1, 200):
        out.put(transition(i))
    wait_for(lambda: b"stay on the robots" in (tmp_path / "ingest.log").read_bytes(), 20, "the complaint")
    assert not out.drain(0.3) and out.stats().sender.acked == 1
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert out.drain(20)
    out.close()
    assert ingest.stop() == 0
    assert rows_by_stream(ingest.journal) == {("robot_1", out.info.boot_id): list(range(200))}


def test_flipped_bits_and_cut_links_cost_nothing(tmp_path: Path, ingest: IngestProcess) -> None:
    proxy = FlippingProxy(ingest.config.endpoints.base_port, every=6)
    out = uploader(tmp_path, ingest, endpoint=proxy.endpoint)
    put = 0
    while proxy.flipped < 12:
        for _ in range(40):
            put += out.put(transition(put))
        out.drain(0.3)
        if put % 400 == 0:
            proxy.cut()
    proxy._every = 10**9
    assert out.drain(20)
    assert out.stats().sender.replaced == 0
    out.close()
    proxy.close()
    assert rows_by_stream(ingest.journal) == {("robot_1", out.info.boot_id): list(range(put))}


def test_a_block_that_ingest_refuses_is_replaced_and_blocks_nothing(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    for i in range(5):
        out.put(transition(i))
    assert out.drain(20)
    other = encode_block(stream_info("robot_9"), 5, [transition(5)] * 3)  # a sound block under a wrong envelope
    spool = out._spool
    out._writer.close()
    spool.commit([OutgoingBlock(5, 8, other)])
    spool.commit([OutgoingBlock(8, 9, encode_block(spool.info, 8, [transition(8)]))])
    wait_for(lambda: out.stats().sender.acked == 9, 20, "the block after it")
    assert out.stats().sender.replaced == 3
    out.close()
    wait_for(lambda: read_stats(ingest.run_dir, "ingest", IngestStats)[-1].notes, 20, "the note for people")
    [found] = read_stats(ingest.run_dir, "ingest", IngestStats)
    assert "a block of robot_1 was refused: block is of robot_9" in found.notes[0]
    client = ingest.tail()
    blocks = [b.block for b in client.poll(5)]
    client.close()
    names = [(e.seq, e.name) for b in blocks for e in b.events]
    assert names == [(5, "record_refused"), (6, "record_refused"), (7, "record_refused")]


def test_strangers_and_garbage_change_nothing(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    out.put(transition(0))
    assert out.drain(20)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    for endpoint in (ingest.config.endpoints.ingest, ingest.config.endpoints.tail):
        stranger = context.socket(zmq.DEALER)
        stranger.setsockopt(zmq.LINGER, 500)
        stranger.connect(endpoint)
        for frames in ([b""], [b"x" * 100], [b"", b"", b""], [frame_message(Hello("r", "b", 0, 1))[:-1], b""]):
            stranger.send_multipart(frames)
        stranger.send_multipart([frame_message(Data("r", "b", 0, 5)), b"no block"])
        stranger.send_multipart([frame_message(Hello("r", "b", 0, 1))])
        stranger.send_multipart([frame_message(Data("r", "b", 0, 5))])
        stranger.send_multipart([frame_message(Data("r", "b", 0, 5)), b"no block"])
        with socket.create_connection(("127.0.0.1", int(endpoint.rsplit(":", 1)[1]))) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))
        stranger.close()
    context.term()
    for i in range(1, 10):
        out.put(transition(i))
    assert out.drain(20)
    out.close()
    client = ingest.tail()
    assert client.audit().records == 10
    client.close()


def test_a_stranger_with_a_robots_name_blocks_nobody(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    out.put(transition(0))
    assert out.drain(20)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.DEALER) as stranger:
        stranger.connect(ingest.config.endpoints.ingest)
        stranger.send_multipart([frame_message(Hello("robot_1", out.info.boot_id, 2**40, 1)), b""])
        assert stranger.poll(10_000)  # it was heard, and answered
        out.put(transition(1))
        assert out.drain(20)
        out.close()
        out = uploader(tmp_path, ingest)  # a new process, which asks where to go on
        out.put(transition(2))
        assert out.drain(20) and out.stats().sender.error == ""
    context.term()
    out.close()
    assert rows_by_stream(ingest.journal) == {("robot_1", out.info.boot_id): [0, 1, 2]}


def test_ever_new_names_do_not_fill_the_memory(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    journal = Journal(tmp_path / "journal.sqlite")
    server = Ingest(journal, "tcp://127.0.0.1:0")
    with context.socket(zmq.DEALER) as socket:
        socket.connect(server.endpoint)
        for i in range(MAX_STREAMS + 200):
            socket.send_multipart([frame_message(Hello("r", f"boot_{i}", 0, 1)), b""])
        for _ in range(MAX_STREAMS + 200):
            while not socket.poll(0):
                server.step(0.05)
            socket.recv_multipart()
        info = stream_info("r")
        frames = [frame_message(Hello("r", info.boot_id, 0, 1)), b""]
        socket.send_multipart(frames)
        socket.send_multipart([frame_message(Data("r", info.boot_id, 0, 1)), encode_block(info, 0, [transition(0)])])
        wait_for(lambda: server.step(0.05) == 1, 10, "the block")
    assert len(server._streams) <= MAX_STREAMS
    server.close()
    journal.close()
    context.term()


def test_a_new_journal_goes_on_where_the_robot_is(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    for i in range(20):
        out.put(transition(i))
    assert out.drain(20)
    ingest.kill()
    for path in ingest.run_dir.glob("journal.sqlite*"):
        path.unlink()
    ingest.start()
    for i in range(20, 30):
        out.put(transition(i))
    assert out.drain(20)
    out.close()
    [numbers] = rows_by_stream(ingest.journal).values()
    assert numbers[-10:] == list(range(20, 30)) and numbers == list(range(numbers[0], 30))
    with sqlite3.connect(ingest.journal) as db:
        assert db.execute("SELECT count(*) FROM gaps").fetchone()[0] == 0
    db.close()


def test_a_journal_restored_from_a_backup_is_filled_up_again(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)

    def add(first: int, end: int) -> None:
        for i in range(first, end):
            out.put(transition(i))
        assert out.drain(20)

    add(0, 20)
    with sqlite3.connect(ingest.journal) as db, sqlite3.connect(tmp_path / "backup.sqlite") as backup:
        db.backup(backup)
    add(20, 40)
    ingest.kill()
    for path in ingest.run_dir.glob("journal.sqlite*"):
        path.unlink()
    (tmp_path / "backup.sqlite").rename(ingest.journal)
    ingest.start()
    add(40, 50)
    out.close()
    assert rows_by_stream(ingest.journal) == {("robot_1", out.info.boot_id): list(range(50))}


def steps_in(journal: Path) -> list[int]:
    """The step that each transition carries, in the order of the journal."""
    reader = JournalReader(journal)
    rows, _ = reader.read(0, 10**9, 10**12)
    reader.close()
    blocks = [decode_block(row.payload) for row in rows if row.payload is not None]
    return [step for block in blocks if block.transitions is not None for step in block.transitions.step.tolist()]


def copied(folder: Path, ingest: IngestProcess) -> RecordUploader:
    return RecordUploader(folder / "copy", stream_info(), ingest.config.endpoints.ingest, sync_interval_s=0.01)


def put(out: RecordUploader, *numbers: int) -> None:
    for number in numbers:
        assert out.put(transition(number))


@pytest.mark.parametrize("away", [0, 1, 3], ids=lambda away: f"{away} lives without ingest")
def test_a_copied_spool_loses_nothing_whether_its_first_processes_reach_ingest_or_not(
    tmp_path: Path, ingest: IngestProcess, away: int
) -> None:
    out = uploader(tmp_path, ingest)
    put(out, *range(5))
    assert out.drain(20)
    out.close()
    shutil.copytree(tmp_path / "robot_1", tmp_path / "copy")
    out = uploader(tmp_path, ingest)
    put(out, *range(5, 50))
    assert out.drain(20)
    out.close()
    if away:
        ingest.kill()
    for begun in range(away + 2):
        if begun == away > 0:
            ingest.start()
        out = copied(tmp_path, ingest)
        put(out, *range(1000 + 60 * begun, 1060 + 60 * begun))
        if begun >= away:
            assert out.drain(20)
            assert out.stats().sender.forks == (begun == away)
            assert ("copied or restored" in out.stats().sender.error) == (begun == away)
        out.close()
    assert sorted(steps_in(ingest.journal)) == [*range(50), *range(1000, 1000 + 60 * (away + 2))]


def test_two_copies_at_once_are_noticed_and_nothing_is_lost_or_doubled(tmp_path: Path, ingest: IngestProcess) -> None:
    """The same pace and the same block borders: only the bytes tell them apart."""
    out = uploader(tmp_path, ingest)
    put(out, *range(5))
    assert out.drain(20)
    put(out, 5, 6, 7)  # perhaps not delivered when the copy is made: both have them then
    out.close()
    shutil.copytree(tmp_path / "robot_1", tmp_path / "copy")
    both = uploader(tmp_path, ingest), copied(tmp_path, ingest)
    for number in range(100, 400):
        put(both[0], number)
        put(both[1], 1000 + number)
        time.sleep(0.002)
    assert all(each.drain(20) for each in both)
    stats = [each.stats().sender for each in both]
    assert sum(each.forks for each in stats) == 1
    [noticed] = [each.error for each in stats if each.forks]
    assert "ingest has other records of robot_1" in noticed and "new boot" in noticed and "\n" not in noticed
    for each in both:
        each.close()
    assert ingest.stop() == 0
    assert sorted(steps_in(ingest.journal)) == [*range(8), *range(100, 400), *range(1100, 1400)]
    [found] = read_stats(ingest.run_dir, "ingest", IngestStats)
    assert found.conflicts and "robot_1" in found.notes[0] and "copied or restored" in found.notes[0]


def test_a_known_key_with_other_records_is_never_acknowledged(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    put(out, 0)
    assert out.drain(20)
    boot_id = out.info.boot_id
    other = encode_block(msgspec.structs.replace(stream_info(), boot_id=boot_id), 0, [transition(7)])
    decoder = msgspec.msgpack.Decoder(FromIngest)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.DEALER) as stranger:
        stranger.connect(ingest.config.endpoints.ingest)
        stranger.send_multipart([frame_message(Data("robot_1", boot_id, 0, 1)), other])
        assert stranger.poll(10_000)
        answer = deframe_message(stranger.recv(), decoder)
    assert answer == Compared(boot_id, 0, 0, 1)
    context.term()
    out.close()


def test_a_copied_spool_loses_nothing_that_it_records_while_an_older_boot_waits(
    tmp_path: Path, ingest: IngestProcess
) -> None:
    ingest.kill()
    first = uploader(tmp_path, ingest)
    put(first, 0)
    first.close()
    last = max((tmp_path / "robot_1").glob("*.log"))
    last.write_bytes(last.read_bytes() + b"torn")  # as after a power cut: the next records begin a new boot
    second = uploader(tmp_path, ingest)
    assert second.info.boot_id != first.info.boot_id
    put(second, *range(1, 6))
    second.close()
    shutil.copytree(tmp_path / "robot_1", tmp_path / "copy")
    ingest.start()
    out = uploader(tmp_path, ingest)
    put(out, *range(6, 50))
    assert out.drain(20)
    out.close()
    ingest.kill()
    out = copied(tmp_path, ingest)
    put(out, *range(1000, 1060))
    wait_for(lambda: out.is_durable, 20, "the rows being in the spool")
    ingest.start()  # has all of the older boot; the newer one's turn comes only now
    assert out.drain(20) and out.stats().sender.forks == 1
    out.close()
    assert sorted(steps_in(ingest.journal)) == [*range(50), *range(1000, 1060)]


def test_a_damaged_alias_is_one_line_that_says_what_to_do(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    out.close()
    (tmp_path / "robot_1" / f"boot_alias.{out.info.boot_id}").write_bytes(b"torn")
    with pytest.raises(StorageError, match="is damaged; delete it"):
        uploader(tmp_path, ingest)


def test_one_absurd_row_is_left_out_and_nothing_else_is_lost(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    rows = [transition(number) for number in range(40)]
    rows[17] = msgspec.structs.replace(rows[17], obs=np.full(24, 3e38, np.float32))
    payload = encode_block(out._spool.info, 0, rows)  # from a robot that does not look itself
    out._writer.close()
    out._spool.commit([OutgoingBlock(0, 40, payload)])
    wait_for(lambda: out.stats().sender.acked == 40, 20, "the block")
    out.close()
    assert steps_in(ingest.journal) == [number for number in range(40) if number != 17]
    client = ingest.tail()
    [event] = [event for found in client.poll(5) for event in found.block.events]
    client.close()
    assert (event.seq, event.name) == (17, "record_refused") and "3e+38" in event.detail
    assert ingest.stop() == 0
    [found] = read_stats(ingest.run_dir, "ingest", IngestStats)
    assert found.out_of_range == 1 and "1 records of robot_1 out of range" in found.notes[0]


def test_a_frozen_ingest_is_noticed_and_outlived(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    out.put(transition(0))
    assert out.drain(20) and ingest.process is not None
    ingest.process.send_signal(signal.SIGSTOP)
    for i in range(1, 30):
        out.put(transition(i))
    wait_for(lambda: not out.stats().sender.is_connected, 5, "the silence being noticed")
    ingest.process.send_signal(signal.SIGCONT)
    assert out.drain(5)
    out.close()
    assert rows_by_stream(ingest.journal) == {("robot_1", out.info.boot_id): list(range(30))}


def test_labels_and_ends_travel_too(tmp_path: Path, ingest: IngestProcess) -> None:
    out = uploader(tmp_path, ingest)
    out.put(transition(0))
    out.put(episode_end(0))
    out.put(label(0))
    assert out.drain(20)
    client = ingest.tail()
    blocks = [found.block for found in client.poll(5)]
    client.close()
    out.close()
    assert [e.episode for b in blocks for e in b.ends] == [0] and [x.comment for b in blocks for x in b.labels] == ["ü"]
