"""The spool on a real disk: durable, bounded, and sound after whatever a killed process or a bad disk left behind."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import Event
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.protocol import OutgoingBlock
from floop_robot.stream.spool import Spool, SpoolFull
from floop_robot.stream.spool_writer import SpoolWriter
from tests.support.sample_records import episode_end, stream_info, transition
from tests.support.waiting import wait_for

MB = 2**20


def block(spool: Spool, first: int, count: int) -> OutgoingBlock:
    payload = encode_block(spool.info, first, [transition(i) for i in range(first, first + count)])
    return OutgoingBlock(first, first + count, payload)


def keys(spool: Spool, seq: int = 0, boot_id: str = "") -> list[int]:
    return [r.seq for b in spool.read(boot_id or spool.info.boot_id, seq) for r in decode_block(b.payload).records()]


def names(spool: Spool, boot_id: str) -> list[str]:
    events = [e for b in spool.read(boot_id, 0) for e in decode_block(b.payload).events]
    return [event.name for event in events]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def make(folder: Path, limit: int = 64 * MB, segment: int = 4 * MB, robot: str = "robot_1") -> Spool:
    return Spool(folder, stream_info(robot), limit, segment_bytes=segment)


def test_boot_and_counter_survive_a_restart(folder: Path) -> None:
    first = make(folder)
    boot = first.info.boot_id
    first.commit([block(first, 0, 10), block(first, 10, 5)])
    first.close()
    again = make(folder)
    assert (again.info.boot_id, again.durable_seq) == (boot, 15)
    again.commit([block(again, 15, 2)])
    assert keys(again) == list(range(17))
    assert keys(again, 12) == [*range(10, 15), 15, 16]
    assert make(folder.parent / "other").info.boot_id != boot


def test_boot_and_counter_survive_when_everything_was_delivered(folder: Path) -> None:
    first = make(folder, segment=4096)
    for i in range(20):
        first.commit([block(first, i * 10, 10)])
    first.acknowledge(first.info.boot_id, 200)
    first.close()
    again = make(folder)
    assert (again.info.boot_id, again.durable_seq) == (first.info.boot_id, 200)
    again.close()
    assert make(folder).durable_seq == 200


def test_delivered_segments_are_deleted(folder: Path) -> None:
    spool = make(folder, segment=8192)
    for i in range(50):
        spool.commit([block(spool, i * 10, 10)])
    full = spool.size
    assert len(list(folder.glob("*.log"))) > 5
    spool.acknowledge(spool.info.boot_id, 255)
    stream = spool.stream()
    assert 0 < stream.floor <= 255 and stream.limit == 500 and spool.size < 0.6 * full
    assert keys(spool, 255)[-1] == 499
    spool.acknowledge(spool.info.boot_id, 500)
    assert len(list(folder.glob("*.log"))) == 1


def test_a_full_spool_keeps_the_oldest(folder: Path) -> None:
    spool = make(folder, limit=64 * 1024)
    count = 0
    with pytest.raises(SpoolFull, match="full"):
        for i in range(1000):
            spool.commit([block(spool, i * 10, 10)])
            count = i + 1
    assert spool.size <= 64 * 1024 and keys(spool) == list(range(count * 10))
    spool.acknowledge(spool.info.boot_id, count * 10)
    spool.commit([block(spool, count * 10, 10)])


def test_a_torn_tail_ends_the_boot_and_loses_nothing_durable(folder: Path) -> None:
    spool = make(folder)
    boot = spool.info.boot_id
    spool.commit([block(spool, 0, 10)])
    spool.commit([block(spool, 10, 10)])
    spool.close()
    [path] = folder.glob("*.log")
    data = path.read_bytes()
    size = len(block(spool, 10, 10).payload)
    for cut in (1, 5, 27, 28, size // 2, size - 1):
        path.write_bytes(data[: len(data) - cut])
        again = make(folder)
        assert again.info.boot_id != boot and again.durable_seq == 0
        assert again.stream().info.boot_id == boot and again.stream().limit == 10
        assert keys(again, 0, boot) == list(range(10))
        again.commit([block(again, 0, 3)])
        again.acknowledge(boot, 10)
        assert again.stream().info.boot_id == again.info.boot_id and keys(again) == [0, 1, 2]
        again.close()
        for left in folder.glob("*.log"):
            left.unlink()


def test_flipped_bits_are_noticed_and_lost_records_become_events(folder: Path) -> None:
    spool = make(folder)
    boot = spool.info.boot_id
    for i in range(3):
        spool.commit([block(spool, i * 10, 10)])
    spool.close()
    [path] = folder.glob("*.log")
    data = path.read_bytes()
    start = len(data) - 2 * len(block(spool, 10, 10).payload)
    random = np.random.default_rng(1)
    for at in random.integers(start, start + len(block(spool, 10, 10).payload), 40):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(flipped))
        again = make(folder)
        assert keys(again, 0, boot) == list(range(30))  # keys stay consecutive …
        assert names(again, boot) == ["record_lost"] * 10  # … and events stand where records were
        again.close()
        for other in folder.glob("*.log"):
            if other != path:
                other.unlink()


@pytest.mark.parametrize("at", [0, 3, 5, 9, 20])
def test_a_damaged_head_drops_no_sound_row(folder: Path, at: int, caplog: pytest.LogCaptureFixture) -> None:
    spool = make(folder)
    boot = spool.info.boot_id
    spool.commit([block(spool, 0, 10), block(spool, 10, 5)])
    spool.close()
    [path] = folder.glob("*.log")
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(bytes(data))
    again = make(folder)
    assert again.info.boot_id == boot and keys(again) == list(range(15))
    assert path.with_suffix(".damaged").read_bytes() == data
    assert [message for message in caplog.messages if str(path) in message and "damaged head" in message]
    again.commit([block(again, 15, 2)])
    again.close()
    assert keys(once := make(folder)) == list(range(17)) and not once.damage


@pytest.mark.parametrize("what", ["copied to the front", "copied to the end", "swapped", "other names"])
def test_files_that_somebody_copied_or_renamed_lose_nothing(folder: Path, what: str) -> None:
    spool = make(folder, segment=4096)
    for i in range(20):
        spool.commit([block(spool, i * 10, 10)])
    spool.close()
    first, *_, last = segments = sorted(folder.glob("*.log"))
    assert len(segments) > 2
    if what == "swapped":
        first.rename(folder / "aside")
        last.rename(first)
        (folder / "aside").rename(last)
    elif what == "other names":
        (folder / "1 (copy).log").write_bytes(first.read_bytes())
        (folder / "0abc.log").write_bytes(b"junk")
    else:
        copied, number = (last, 0) if what == "copied to the front" else (first, 99)
        (folder / f"{number:010d}.log").write_bytes(copied.read_bytes())
    again = make(folder)
    assert keys(again) == list(range(200)) and again.damage == []
    again.commit([block(again, 200, 5)])
    assert keys(again, 195) == [*range(190, 205)]
    again.acknowledge(again.info.boot_id, 205)
    again.close()
    assert make(folder).durable_seq == 205


def test_a_segment_without_any_sound_block_is_set_aside(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = make(folder)
    boot = spool.info.boot_id
    spool.commit([block(spool, 0, 10)])
    spool.close()
    [path] = folder.glob("*.log")
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    again = make(folder)
    assert again.info.boot_id != boot and path.with_suffix(".damaged").exists()
    assert "no block in it is sound" in caplog.text


def test_damage_is_named_in_log_and_stream(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = make(folder)
    boot = spool.info.boot_id
    for i in range(3):
        spool.commit([block(spool, i * 10, 10)])
    spool.close()
    [path] = folder.glob("*.log")
    size = len(block(spool, 10, 10).payload)
    data = bytearray(path.read_bytes())
    for back in (3, 2 * size + 3):  # the tails of the last block and of the first
        data[-back] ^= 1
    path.write_bytes(bytes(data))
    again = make(folder)
    begin = len(data) - 3 * size
    assert f"{path}: bytes {begin} to {begin + size - 1} are damaged; records 0 to 9 are lost" in caplog.text
    assert f"bytes {begin + 2 * size} to {len(data) - 1} are no whole block" in caplog.text
    assert f"records of boot {boot} from 20 on are lost, if there were any" in caplog.text
    assert again.info.boot_id != boot and keys(again, 0, boot) == list(range(20))
    assert names(again, boot) == ["record_lost"] * 10
    with contextlib.closing(SpoolWriter(again, 0.01)) as writer:
        wait_for(lambda: writer.stats().written == 2, what="two events")
        assert writer.stats().damaged == 2
    assert names(again, again.info.boot_id) == ["spool_damaged", "spool_damaged"]
    again.close()


@pytest.mark.parametrize("clock_ns", [-(10**18), -1, 0, 106 * 31_556_952 * 10**9, 2**70])
def test_a_clock_in_a_wrong_year_stops_nothing(folder: Path, clock_ns: int, caplog: pytest.LogCaptureFixture) -> None:
    spool = make(folder)
    clocks = [clock_ns]
    writer = SpoolWriter(spool, 0.01, max_queued=4, clock_ns=lambda: clocks[0])
    bad = msgspec.structs.replace(transition(0), stamp_ns=2**70)
    for record in (bad, msgspec.structs.replace(transition(0), obs=np.array([np.nan], np.float32))):
        assert writer.put(record)
    assert writer.flush(5.0)
    clocks[0] = time.time_ns()
    assert writer.put(bad) and writer.flush(5.0)
    assert writer.stats().error == ""
    writer.close()
    found = events_in(spool)
    assert [event.name for event in found] == ["record_refused"] * 3
    assert [event.stamp_ns > 0 for event in found] == [False, False, True]
    assert len([m for m in caplog.messages if "clock says year" in m]) == 1
    spool.close()


class BrokenSpool(Spool):
    """Fails in a way that nobody foresaw."""

    failures = 2

    def commit(self, blocks: list[OutgoingBlock]) -> None:
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("nobody foresaw it")
        super().commit(blocks)


def test_a_writer_that_ends_unexpectedly_goes_on_and_loses_nothing(folder: Path) -> None:
    spool = BrokenSpool(folder, stream_info(), 64 * MB)
    writer = SpoolWriter(spool, 0.01)
    for i in range(20):
        assert writer.put(transition(i))
    wait_for(lambda: "ZeroDivisionError: nobody foresaw it" in writer.stats().error, what="the error")
    assert writer.flush(10.0)
    writer.close()
    assert keys(spool) == list(range(20))
    spool.close()


def test_a_spool_of_an_older_floop_is_refused_and_left_as_it_is(folder: Path) -> None:
    folder.mkdir()
    old = folder / "0000000001.log"
    old.write_bytes(b"FLSH" + bytes(60))
    advice = r"\(segment format 1\); let that floop deliver it until nothing waits in it, then move the folder away"
    with pytest.raises(StorageError, match=advice) as caught:
        make(folder)
    assert "\n" not in str(caught.value) and old.read_bytes() == b"FLSH" + bytes(60)


def test_the_disk_holds_the_very_bytes_of_the_blocks(folder: Path) -> None:
    spool = make(folder)
    blocks = [block(spool, 0, 10), block(spool, 10, 5)]
    spool.commit(blocks)
    [path] = folder.glob("*.log")
    assert path.read_bytes().endswith(blocks[0].payload + blocks[1].payload)
    assert list(spool.read(spool.info.boot_id, 0)) == blocks


def test_a_spool_is_used_by_one_process_and_one_robot(folder: Path) -> None:
    spool = make(folder)
    with pytest.raises(StorageError, match="in use"):
        make(folder)
    spool.commit([block(spool, 0, 1)])
    spool.close()
    with pytest.raises(StorageError, match=r"robot_1.*robot_2"):
        make(folder, robot="robot_2")
    make(folder).close()


def test_what_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose a writable folder") as caught:
        make(tmp_path / "file" / "spool")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_no_permission_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    code = (
        "import os, sys; from pathlib import Path; from tests.stream.test_spool import make\n"
        "from floop_robot.spec.errors import StorageError\n"
        f"os.seteuid(65534)\ntry: make(Path({str(tmp_path / 'mine' / 'spool')!r}))\n"
        "except StorageError as error: print(error)"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=60
    )
    assert "Permission denied; choose a writable folder" in done.stdout, done.stderr


def test_records_are_durable_in_the_order_they_were_put(folder: Path) -> None:
    spool = make(folder)
    writer = SpoolWriter(spool, 0.01)
    for i in range(600):
        assert writer.put(transition(i) if i % 50 else episode_end(i))
    assert writer.flush(10)
    assert writer.stats().durable_seq == 600 and writer.stats().written == 600
    blocks = [decode_block(b.payload) for b in spool.read(spool.info.boot_id, 0)]
    found = [getattr(r, "step", None) for b in blocks for r in b.records()]
    assert found == [i if i % 50 else None for i in range(600)]
    writer.close()


def test_records_that_nobody_could_read_become_events_and_block_nothing(folder: Path) -> None:
    spool = make(folder)
    writer = SpoolWriter(spool, 0.01)
    writer.put(transition(0))
    writer.put(transition(1, obs=float("nan")))
    writer.put(msgspec.structs.replace(transition(2), action=np.zeros(4, np.float32)))
    writer.put(transition(3))
    assert writer.flush(10) and writer.stats().refused == 2
    [read] = spool.read(spool.info.boot_id, 0)
    decoded = decode_block(read.payload)
    assert decoded.transitions is not None and decoded.transitions.step.tolist() == [0, 3]
    assert [(e.seq, e.name) for e in decoded.events] == [(1, "record_refused"), (2, "record_refused")]
    assert "NaN" in decoded.events[0].detail
    writer.close()


def events_in(spool: Spool) -> list[Event]:
    stream = spool.stream()
    return [e for b in spool.read(stream.info.boot_id, stream.floor) for e in decode_block(b.payload).events]


def test_a_full_spool_never_blocks_and_drops_are_counted_and_reported(folder: Path) -> None:
    spool = make(folder, limit=100 * 1024)
    writer = SpoolWriter(spool, 0.005, max_queued=100)
    slowest, put = 0.0, 0
    while writer.stats().dropped < 50:
        start = time.perf_counter()
        writer.put(transition(put))
        slowest = max(slowest, time.perf_counter() - start)
        put += 1
        time.sleep(0.0002)
    assert "full" in writer.stats().error and slowest < 0.2
    dropped = writer.stats().dropped
    early = events_in(spool)  # on a busy machine the queue may overflow before the spool is full
    spool.acknowledge(spool.info.boot_id, spool.durable_seq)
    wait_for(lambda: not writer.stats().error, what="the spool taking records again")
    assert writer.flush(10)
    writer.close()
    late = events_in(spool)
    assert len(late) == 1 and {e.name for e in (*early, *late)} == {"records_dropped"}
    events = [*early, *late]
    assert sum(int(e.detail.split(":")[0]) for e in events) <= writer.stats().dropped
    assert writer.stats().written + writer.stats().dropped == put + len(events) and dropped >= 50


def test_a_disk_that_takes_no_more_is_survived(folder: Path) -> None:
    spool = make(folder)
    writer = SpoolWriter(spool, 0.01)
    writer.put(transition(0))
    assert writer.flush(10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # every file of this process, as a full disk would
    try:
        for i in range(1, 50):
            writer.put(transition(i))
        error = wait_for(lambda: writer.stats().error, what="the error being reported")
        assert "too large" in error and writer.stats().durable_seq == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert writer.flush(10)
    assert keys(spool) == list(range(50)) and writer.stats().error == ""
    writer.close()


def test_reading_while_writing_sees_every_key_once(folder: Path) -> None:
    spool = make(folder, segment=16 * 1024)
    writer = SpoolWriter(spool, 0.001)

    def produce() -> None:
        for i in range(3000):
            writer.put(transition(i))
            if i % 20 == 0:
                time.sleep(0.002)

    thread = threading.Thread(target=produce)
    thread.start()
    seen: list[int] = []
    boot = spool.info.boot_id
    deadline = time.monotonic() + 30
    while len(seen) < 3000 and time.monotonic() < deadline:
        for read in spool.read(boot, len(seen)):
            decoded = decode_block(read.payload)
            assert decoded.transitions is not None and not decoded.events
            seen += decoded.transitions.step.tolist()
        spool.acknowledge(boot, len(seen))
    thread.join()
    writer.close()
    assert seen == list(range(3000))


WRITER = """
import sys, time
from pathlib import Path
from floop_robot.stream.spool import Spool
from floop_robot.stream.spool_writer import SpoolWriter
from tests.support.sample_records import stream_info, transition
spool = Spool(Path(sys.argv[1]), stream_info(), 2**26, segment_bytes=20_000)
writer = SpoolWriter(spool, 0.001)
number = spool.durable_seq
while True:
    if writer.put(transition(number)):
        number += 1
    print(writer.stats().durable_seq, flush=True)
    time.sleep(0.0005)
"""


def test_no_durable_record_is_lost_however_often_the_writer_is_killed(folder: Path) -> None:
    path = os.pathsep.join(p for p in sys.path if p)
    for kill in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
        )
        assert process.stdout is not None
        durable = -1
        for line in process.stdout:
            durable = int(line)
            if durable >= 50 * (kill + 1):
                break
        process.send_signal(signal.SIGKILL)
        promised = max([durable, *(int(line) for line in process.stdout if line.endswith(b"\n"))])
        process.wait()
        spool = make(folder, segment=20_000)
        stream = spool.stream()
        assert stream.limit >= promised
        found = [decode_block(b.payload) for b in spool.read(stream.info.boot_id, 0)]
        steps = [s for b in found if b.transitions is not None for s in b.transitions.step.tolist()]
        assert steps == list(range(stream.limit))
        spool.close()
        if stream.info.boot_id != spool.info.boot_id:
            return  # killed in the middle of a write, which ends the boot; that is another test
