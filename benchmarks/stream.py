"""How fast records travel, and how late they are: python benchmarks/stream.py --help for the knobs.

Throughput: both ends in this process on one thread, over a real TCP socket, 24 observations and 5 actions per row,
process CPU time (so a loaded machine does not change it much). The rungs add one thing each:

    msgpack per row       one message per transition, msgpack of a dict, typed nowhere
    column blocks         blocks of `--block` rows, encoded and decoded by the codec
    + journal + ack       the same into SQLite (WAL, synchronous=FULL), acknowledged after commit
    + spool               the same from a spool on disk (fdatasync)

The last two sync once per `--group` blocks, as spool and ingest do when rows come fast.

Latency: `--senders` processes at `--rate` rows/s each, through spool, ingest process and tail, as wall time from the
control loop's `put` to the row in a follower's hands.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil
import zmq

from floop_robot.durable.framing import frame_message
from floop_robot.spec.config import Endpoints, FloopConfig, save_config
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import ActMode, Source, StreamInfo, Transition
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.journal import Journal, JournalEntry
from floop_robot.stream.messages import Ack, Data
from floop_robot.stream.protocol import OutgoingBlock
from floop_robot.stream.spool import Spool
from floop_robot.stream.tail_client import TailClient
from floop_robot.stream.uploader import RecordUploader

INFO = StreamInfo("robot_1", "boot", "floop/Pick-v0", Ids("c", "l", "r"), Source.ROBOT)
PORTS_FROM = 21000


def make_row(number: int) -> Transition:
    action = np.linspace(-1, 1, 5, dtype=np.float32)
    return Transition(
        seq=0,
        episode=number // 40,
        step=number % 40,
        stamp_ns=time.time_ns(),
        policy_version=1,
        act_mode=ActMode.MEAN,
        obs=np.arange(24, dtype=np.float32),
        action_requested=action,
        action=action,
        log_prob=math.nan,
        reward=0.5,
        terminated=False,
        truncated=False,
        interventions=0,
    )


class Pipe:
    """A TCP connection with both ends here."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._far, self._near = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        port = self._far.bind_to_random_port("tcp://127.0.0.1")
        self._near.connect(f"tcp://127.0.0.1:{port}")

    def carry(self, *frames: bytes) -> list[bytes]:
        """Send, and receive on the other side."""
        self._near.send_multipart(frames)
        return self._far.recv_multipart()

    def close(self) -> None:
        """Close both ends."""
        self._context.destroy(0)


def per_row(rows: list[Transition], pipe: Pipe) -> int:
    names = Transition.__struct_fields__
    for row in rows:
        plain: dict[str, Any] = {name: getattr(row, name) for name in names}
        for name in ("obs", "action", "action_requested"):
            plain[name] = plain[name].tobytes()
        [data] = pipe.carry(msgpack.packb(plain))
        found = msgpack.unpackb(data)
        for name in ("obs", "action", "action_requested"):
            found[name] = np.frombuffer(found[name], np.float32)
    return len(rows)


def blocks_of(rows: list[Transition], size: int) -> list[tuple[int, list[Transition]]]:
    return [(first, rows[first : first + size]) for first in range(0, len(rows), size)]


def columns(rows: list[Transition], pipe: Pipe, size: int) -> int:
    done = 0
    for first, part in blocks_of(rows, size):
        [data] = pipe.carry(encode_block(INFO, first, part))
        done += len(decode_block(data))
    return done


def stored(rows: list[Transition], pipe: Pipe, size: int, group: int, spool: Spool | None, journal: Journal) -> int:
    """`group` blocks per sync, on the robot and at ingest; nothing overlaps, so the wall rate is a lower bound."""
    blocks = blocks_of(rows, size)
    for start in range(0, len(blocks), group):
        part = blocks[start : start + group]
        out = [OutgoingBlock(first, first + len(some), encode_block(INFO, first, some)) for first, some in part]
        if spool is not None:
            spool.commit(out)
        entries = []
        for block in out:
            envelope = frame_message(Data(INFO.robot, INFO.boot_id, block.first_seq, block.end_seq))
            _, data = pipe.carry(envelope, block.payload)
            entries.append(JournalEntry(decode_block(data), data))
        journal.append(entries)
        pipe.carry(frame_message(Ack(INFO.boot_id, out[-1].end_seq, 1 << 20)))
        if spool is not None:
            spool.acknowledge(spool.info.boot_id, out[-1].end_seq)
    return len(rows)


def timed(name: str, work: Callable[[], int]) -> tuple[str, float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    rows = work()
    return name, rows / (time.process_time() - cpu), rows / (time.perf_counter() - wall)


def throughput(rows: int, size: int, group: int) -> None:
    made = [make_row(i) for i in range(rows)]
    pipe = Pipe()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        one, two = Journal(here / "one.sqlite"), Journal(here / "two.sqlite")
        spool = Spool(here / "spool", INFO, 1 << 30)
        results = [
            timed("msgpack per row", lambda: per_row(made, pipe)),
            timed("column blocks", lambda: columns(made, pipe, size)),
            timed("+ journal + ack", lambda: stored(made, pipe, size, group, None, one)),
            timed("+ spool", lambda: stored(made, pipe, size, group, spool, two)),
        ]
        spool.close()
        one.close()
        two.close()
    pipe.close()
    base = results[0][1]
    print(f"{f'rows/s, blocks of {size}':28} {'per CPU s':>12} {'per wall s':>12} {'ratio (CPU)':>12}")
    for name, per_cpu, per_wall in results:
        print(f"{name:28} {per_cpu:12,.0f} {per_wall:12,.0f} {per_cpu / base:12.2f}")


def produce(folder: Path, endpoint: str, robot: str, rate: float, seconds: float) -> None:
    info = StreamInfo(robot, "", INFO.task, INFO.ids, INFO.source)
    uploader = RecordUploader(folder, info, endpoint)
    uploader.put(make_row(0))
    uploader.drain(30)  # timing starts when the link is up
    start, count, slowest = time.monotonic(), int(rate * seconds), 0.0
    for number in range(count):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        row = make_row(number + 1)
        before = time.perf_counter()
        uploader.put(row)
        slowest = max(slowest, time.perf_counter() - before)
    drained = uploader.drain(30)
    stats = uploader.stats()
    cpu = time.process_time() / seconds
    counts = f"acked {stats.sender.acked} of {count + 1}, dropped {stats.writer.dropped}, drained {drained}"
    print(f"  {robot}: {counts}, slowest put {slowest * 1e6:.0f} µs, {cpu:.1%} of a core")
    uploader.close()


def latency(senders: int, rate: float, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        port = PORTS_FROM + os.getpid() % 9000
        config = FloopConfig(run_dir=str(here), endpoints=Endpoints(base_port=port))
        save_config(config, here / "config.yaml")
        ingest = subprocess.Popen(
            [sys.executable, "-m", "floop_robot.services.ingest", "--config", str(here / "config.yaml")],
            stderr=subprocess.DEVNULL,
        )
        client = TailClient(config.endpoints.tail)
        command = [sys.executable, __file__, "--produce", str(rate), str(seconds), config.endpoints.ingest]
        children = [subprocess.Popen([*command, str(here / f"r{i}"), f"robot_{i}"]) for i in range(senders)]
        ages: list[float] = []
        total = senders * int(rate * seconds)
        deadline = time.monotonic() + 3 * seconds + 60
        while len(ages) < total and time.monotonic() < deadline:
            for found in client.poll(1.0):
                rows = found.block.transitions
                if rows is not None:
                    ages += ((time.time_ns() - rows.stamp_ns[rows.seq > 0]) / 1e6).tolist()
        for child in children:
            child.wait()
        audit = client.audit()
        client.close()
        times = psutil.Process(ingest.pid).cpu_times()
        ingest.terminate()
        ingest.wait()
    p50, p90, p99, worst = np.percentile(ages, [50, 90, 99, 100])
    ages_ms = f"p50 {p50:.0f}, p90 {p90:.0f}, p99 {p99:.0f}, max {worst:.0f} ms"
    counts = f"{audit.records} records, lost {audit.lost}, doubled {audit.doubled}"
    print(f"{senders} senders × {rate:g} rows/s: put → follower {ages_ms}")
    print(f"  {counts}; ingest used {times.user + times.system:.1f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--rate", type=float, nargs="+", default=[50.0, 500.0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--produce", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.rows, arguments.senders, arguments.rate, arguments.seconds = 1000, 1, [100.0], 0.5
    if arguments.produce:
        rate, seconds, endpoint, folder, robot = arguments.produce
        produce(Path(folder), endpoint, robot, float(rate), float(seconds))
        return
    throughput(arguments.rows, arguments.block, arguments.group)
    for rate in arguments.rate:
        latency(arguments.senders, rate, arguments.seconds)


if __name__ == "__main__":
    main()
