"""Hostile peers against a running site: `python benchmarks/hostile_peers.py [--seconds 10] [--attackers 2]`.

Ingest, fleet manager, gate and learner run as real processes. A robot of this process sends 25 rows/s and asks the
fleet manager 10 times a second. It is alone (quiet) before the first attack and after each. The table shows how long
its rows waited for their acknowledgement and its questions for an answer, and the largest memory of each process, side
by side. Attackers run niced: on a host of their own they would take no processor time here. Exit status 1 when a
process ended or took more than 1 GB.

A phase has 25 acknowledgements a second, so one pause of the disk makes its p99. That is why attacks are compared with
all quiet phases together, and each quiet phase is, too.

`--attack KIND PORT SECONDS` runs one attacker; the tests use it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import secrets
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import zmq

from floop_robot.bundle.delivery import FetchPolicy, Heartbeat
from floop_robot.deploy import FleetClient
from floop_robot.deploy.messages import GetRobots, Robots
from floop_robot.durable.framing import frame_message, pack
from floop_robot.services.supervision.fleet_description import write_config
from floop_robot.spec.config import Endpoints, FloopConfig, GateConfig
from floop_robot.spec.ids import Ids, ids_of
from floop_robot.spec.records import ActMode, Source, StreamInfo, Transition
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import encode_block
from floop_robot.stream.messages import Data, FetchBlocks, Hello
from floop_robot.stream.uploader import RecordUploader

PROCESSES = ("ingest", "fleet_manager", "gate", "learner")
MAX_MB = 1000
MAX_RATIO = 2.0
ATTACKER = "127.0.0.2"
"""Attackers come from an address of their own, as from a host of their own."""
RULES = get_task("floop/Pick-v0")


def row(number: int, ids_value: float = 0.0) -> Transition:
    layout = RULES.spec.observation
    return Transition(
        seq=0,
        episode=number // 40,
        step=number % 40,
        stamp_ns=time.time_ns(),
        policy_version=1,
        act_mode=ActMode.MEAN,
        obs=np.clip(np.full(layout.size, ids_value, np.float32), layout.low, layout.high),
        action_requested=np.zeros(RULES.spec.action.size, np.float32),
        action=np.zeros(RULES.spec.action.size, np.float32),
        log_prob=float("nan"),
        reward=0.0,
        terminated=False,
        truncated=number % 40 == 39,
        interventions=0,
    )


# Attackers


def raw_peer(port: int, kind: bytes = b"DEALER") -> socket.socket:
    """A TCP connection that has shaken hands as a ZeroMQ peer."""
    link = socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(ATTACKER, 0))
    link.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    link.sendall(bytes([4, len(ready)]) + ready)
    return link


def pour(port: int, until_s: float, data: bytes, kind: bytes = b"DEALER") -> None:
    """Send the same bytes again and again, on a new connection whenever one is cut."""
    while time.monotonic() < until_s:
        try:
            with raw_peer(port, kind) as link:
                while time.monotonic() < until_s:
                    link.sendall(data)
        except OSError:
            time.sleep(0.01)


def messages(port: int, until_s: float, make: Callable[[int], list[bytes]], *, reads: bool = True) -> None:
    """Send ZeroMQ messages as fast as they are taken."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.setsockopt(zmq.LINGER, 0)
    peer.setsockopt(zmq.SNDHWM, 100)
    if not reads:
        peer.setsockopt(zmq.RCVHWM, 1)
    peer.connect(f"tcp://{ATTACKER}:0;127.0.0.1:{port}")
    number = 0
    while time.monotonic() < until_s:
        if not peer.poll(50, zmq.POLLOUT):
            continue
        peer.send_multipart(make(number), zmq.NOBLOCK)
        number += 1
        while reads and peer.poll(0):
            peer.recv_multipart()
    context.destroy(0)


def endless_parts(port: int, until_s: float) -> None:
    part = bytes([3]) + struct.pack(">Q", 500_000) + bytes(500_000)
    pour(port, until_s, part)


def endless_small_parts(port: int, until_s: float) -> None:
    pour(port, until_s, bytes([1, 0]) * 50_000)


def very_many_parts(port: int, until_s: float) -> None:
    """Whole messages, each just below what a connection to ingest may send."""
    message = bytes([1, 0]) * 1_900_000 + bytes([0, 0])
    while time.monotonic() < until_s:
        try:
            with raw_peer(port) as link:
                time.sleep(0.05)  # libzmq reads nothing that comes in one piece with the handshake
                link.sendall(message)
                while link.recv(1 << 16):
                    pass
        except OSError:
            time.sleep(0.01)


def very_many_parts_at_once(port: int, until_s: float) -> None:
    """The same over a hundred connections, all there before the first message."""
    message = bytes([1, 0]) * 1_900_000 + bytes([0, 0])
    while time.monotonic() < until_s:
        links = [link for _ in range(100) if (link := quiet_peer(port))]
        time.sleep(1.0)
        sending = [threading.Thread(target=send_all, args=(link, message)) for link in links]
        for thread in sending:
            thread.start()
        for thread in sending:
            thread.join()


def quiet_peer(port: int) -> socket.socket | None:
    try:
        return raw_peer(port)
    except OSError:
        return None


def send_all(link: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError), link:
        link.sendall(data)
        while link.recv(1 << 16):
            pass


def subscriptions(port: int, until_s: float) -> None:
    topics = b"".join(bytes([0, 41, 1]) + secrets.token_bytes(40) for _ in range(2000))
    pour(port, until_s, topics, b"SUB")


def junk(port: int, until_s: float) -> None:
    messages(port, until_s, lambda n: [b"%d" % n, secrets.token_bytes(1000)])


def ask_and_close(port: int, until_s: float) -> None:
    """Ask faster than anybody is served, and close: libzmq's `!_io_error`."""
    while time.monotonic() < until_s:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        peer = context.socket(zmq.DEALER)
        peer.setsockopt(zmq.LINGER, 0)
        peer.setsockopt(zmq.SNDHWM, 100_000)
        peer.setsockopt(zmq.HEARTBEAT_IVL, 100)
        peer.setsockopt(zmq.HEARTBEAT_TTL, 200)
        peer.connect(f"tcp://{ATTACKER}:0;127.0.0.1:{port}")
        question = [b"1", frame_message(FetchPolicy())]
        end_s = time.monotonic() + 0.3
        while time.monotonic() < end_s:
            try:
                peer.send_multipart(question, zmq.NOBLOCK)
            except zmq.Again:
                time.sleep(0.001)
        context.destroy(0)


def ask_and_read_nothing(port: int, until_s: float) -> None:
    messages(port, until_s, lambda n: [b"%d" % n, frame_message(FetchPolicy())], reads=False)


def fetch_and_read_nothing(port: int, until_s: float) -> None:
    asked = FetchBlocks(1, 0, 10**6, 10**9, 0.0)
    messages(port, until_s, lambda n: [frame_message(msgspec.structs.replace(asked, request=n))], reads=False)


def large_blocks(port: int, until_s: float) -> None:
    """Blocks that can't be accepted: too large, or of other keys than their message says."""
    payload = secrets.token_bytes(2_700_000)
    small = payload[:1_500_000]
    messages(
        port,
        until_s,
        lambda n: [
            frame_message(Hello("r", "b", 0, n + 1) if n % 20 == 0 else Data("r", "b", 0, 9)),
            b"" if n % 20 == 0 else payload if n % 3 == 0 else small,
        ],
    )


def names(port: int, until_s: float) -> None:
    """Rows of 300 robots that do not exist, over and over."""
    ids = ids_of(RULES, load_robot("panda"))

    def make(number: int) -> list[bytes]:
        name, turn = f"nobody_{number // 2 % 300}", number // 600
        if number % 2 == 0:
            return [frame_message(Hello(name, f"b{turn}", 0, number + 1)), b""]
        info = StreamInfo(name, f"b{turn}", RULES.spec.id, ids, Source.ROBOT)
        return [frame_message(Data(name, f"b{turn}", 0, 20)), encode_block(info, 0, [row(n) for n in range(20)])]

    messages(port, until_s, make)


def heartbeats(port: int, until_s: float) -> None:
    """Robots that do not exist, and strings as long as a message may be."""

    def make(number: int) -> list[bytes]:
        beat = Heartbeat(robot=f"nobody_{number}", boot_id="b", contract="c", version=number)
        if number % 10 == 0:
            beat = msgspec.structs.replace(beat, contract="x" * 1_000_000)
        return [b"%d" % number, frame_message(beat)]

    messages(port, until_s, make)


def candidates(port: int, until_s: float) -> None:
    """What looks like a candidate with 150,000 checks and megabytes of tensors."""
    check = {"observation": [0.0] * 3, "action": [0.0]}
    manifest = pack({"checks": [check] * 150_000})
    blob = pack(["floop-bundle-2", bytes(32), manifest, bytes(8_000_000), b""])
    messages(port, until_s, lambda n: [b"%d" % n, blob])


def connections(port: int, until_s: float) -> None:
    held: list[socket.socket] = []
    while time.monotonic() < until_s:
        try:
            held.append(raw_peer(port))
        except OSError:
            time.sleep(0.01)
        if len(held) > 800:
            held.pop(0).close()


ATTACKS: dict[str, tuple[Callable[[int, float], None], tuple[str, ...]]] = {
    "endless_parts": (endless_parts, ("ingest", "fleet_rpc", "gate")),
    "endless_small_parts": (endless_small_parts, ("ingest", "fleet_rpc", "gate")),
    "very_many_parts": (very_many_parts, ("ingest", "fleet_rpc", "gate")),
    "very_many_parts_at_once": (very_many_parts_at_once, ("ingest", "fleet_rpc", "gate")),
    "subscriptions": (subscriptions, ("fleet", "weights")),
    "junk": (junk, ("ingest", "fleet_rpc", "gate", "learner")),
    "ask_and_close": (ask_and_close, ("ingest", "fleet_rpc", "tail")),
    "ask_and_read_nothing": (ask_and_read_nothing, ("fleet_rpc",)),
    "fetch_and_read_nothing": (fetch_and_read_nothing, ("tail",)),
    "large_blocks": (large_blocks, ("ingest",)),
    "names": (names, ("ingest",)),
    "heartbeats": (heartbeats, ("fleet_rpc",)),
    "candidates": (candidates, ("gate", "fleet_rpc")),
    "connections": (connections, ("ingest", "fleet_rpc")),
}
"""What each attacker does, and at which endpoints."""


def attack(kind: str, port: int, seconds: float) -> None:
    os.nice(10)
    ATTACKS[kind][0](port, time.monotonic() + seconds)


# The site and its honest robot


class Site:
    """The central processes on ports of their own."""

    def __init__(self, folder: Path, base_port: int) -> None:
        self.config = FloopConfig(
            run_dir=str(folder / "run"), endpoints=Endpoints(base_port=base_port), gate=GateConfig(workers=1)
        )
        self.folder, self.processes = folder, dict[str, subprocess.Popen[bytes]]()
        file = write_config(self.config)
        for name in PROCESSES:
            command = [sys.executable, "-m", "floop_robot.services.entry", name, "--config", str(file)]
            with (folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of each process now."""
        found = {}
        for name, process in self.processes.items():
            try:
                pages = int(Path(f"/proc/{process.pid}/statm").read_bytes().split()[1])
            except OSError:
                continue
            found[name] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        return found

    def ended(self) -> list[str]:
        """The processes that run no longer."""
        return [
            f"{name} ended ({p.poll()}): {(self.folder / f'{name}.log').read_text(errors='replace')[-300:]}"
            for name, p in self.processes.items()
            if p.poll() is not None
        ]

    def close(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Phase(msgspec.Struct):
    """What the honest robot saw during one phase, s."""

    acks: list[float]
    answers: list[float]
    memory_mb: dict[str, float]
    unanswered: int = 0

    def line(self, name: str) -> str:
        """A row of the table."""
        ack, answer = quantile(self.acks), quantile(self.answers)
        memory = "  ".join(f"{self.memory_mb.get(process, 0):7.0f}" for process in PROCESSES)
        return f"{name:<36} {1e3 * ack:9.1f} {1e3 * answer:11.1f}  {memory}"


def quantile(values: list[float], share: float = 0.99) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("inf")


def measure(site: Site, uploader: RecordUploader, counter: itertools.count[int], seconds: float) -> Phase:
    """Live for so long as an honest robot does."""
    found, stop = Phase([], [], {}), threading.Event()

    def ask() -> None:
        with FleetClient(site.config.endpoints.fleet_rpc) as client:
            while not stop.wait(0.1):
                began_s = time.monotonic()
                if client.try_ask(GetRobots(), Robots, 5.0) is None:
                    found.unanswered += 1
                found.answers.append(time.monotonic() - began_s)

    asker = threading.Thread(target=ask, name="asker")
    asker.start()
    end_s, waiting, acked = time.monotonic() + seconds, list[float](), uploader.stats().sender.acked
    put_at_s = time.monotonic()
    while time.monotonic() < end_s or (waiting and time.monotonic() < end_s + 10):
        now_s = time.monotonic()
        if now_s >= put_at_s and now_s < end_s:
            put_at_s = now_s + 0.04
            if uploader.put(row(next(counter))):
                waiting.append(now_s)
            for name, size in site.memory_mb().items():
                found.memory_mb[name] = max(size, found.memory_mb.get(name, 0.0))
        now_acked = uploader.stats().sender.acked
        found.acks += [time.monotonic() - began_s for began_s in waiting[: now_acked - acked]]
        del waiting[: now_acked - acked]
        acked = now_acked
        time.sleep(0.001)
    found.acks += [time.monotonic() - began_s for began_s in waiting]
    stop.set()
    asker.join()
    return found


def free_ports() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1]) % 20_000 + 20_000


def run(seconds: float, attackers: int, kinds: list[str]) -> int:
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = Site(folder, free_ports())
        ids: Ids = ids_of(RULES, load_robot("panda"))
        info = StreamInfo("robot_1", "", RULES.spec.id, ids, Source.ROBOT)
        uploader = RecordUploader(folder / "spool", info, site.config.endpoints.ingest, sync_interval_s=0.01)
        counter = itertools.count()
        try:
            for _ in range(3):
                uploader.put(row(next(counter)))
            if not uploader.drain(120):
                raise SystemExit("hostile_peers: ingest does not answer")
            wait_until_up(site)
            print(f"{'':<36} {'ack p99':>9} {'answer p99':>11}  memory, MB: {', '.join(PROCESSES)}")
            quiet, phases = [measure(site, uploader, counter, seconds)], dict[str, Phase]()
            print(quiet[0].line("quiet"), flush=True)
            for kind in kinds:
                for target in ATTACKS[kind][1]:
                    port = int(getattr(site.config.endpoints, target).rpartition(":")[2])
                    command = [sys.executable, __file__, "--attack", kind, str(port), str(seconds + 1)]
                    peers = [subprocess.Popen(command) for _ in range(attackers)]
                    time.sleep(1.0)
                    phases[f"{kind} → {target}"] = found = measure(site, uploader, counter, seconds)
                    for peer in peers:
                        peer.wait()
                    print(found.line(f"{kind} → {target}"), flush=True)
                    failures += site.ended()
                    failures += [f"{p} took {mb:.0f} MB" for p, mb in found.memory_mb.items() if mb > MAX_MB]
                    if not uploader.drain(60):  # what the attack has held up is no part of the next phase
                        failures.append(f"rows still wait 60 s after {kind} → {target}")
                    quiet.append(measure(site, uploader, counter, seconds))
                    print(quiet[-1].line("  quiet after it"), flush=True)
            if not uploader.drain(30) or uploader.stats().sender.forks:
                failures.append(f"rows of the honest robot: {uploader.stats().sender}")
            print_ratios(phases, quiet)
        finally:
            uploader.close()
            site.close()
    for failure in dict.fromkeys(failures):
        print(f"SHORT: {failure}")
    return 1 if failures else 0


def print_ratios(phases: dict[str, Phase], quiet: list[Phase]) -> None:
    """Each attack beside all quiet phases together, and these beside themselves: what the machine does unasked."""
    usual = quantile([ack for phase in quiet for ack in phase.acks])
    ratios = {name: quantile(phase.acks) / usual for name, phase in phases.items()}
    unasked = sorted(quantile(phase.acks) / usual for phase in quiet)
    print(f"ack p99 of all quiet phases together: {1e3 * usual:.1f} ms")
    print(f"× that, each quiet phase: median {statistics.median(unasked):.1f}, worst {unasked[-1]:.1f}")
    if ratios:
        print(f"× that, each attack: median {statistics.median(ratios.values()):.1f}, worst {max(ratios.values()):.1f}")
    for name in [name for name, ratio in ratios.items() if ratio > MAX_RATIO]:
        print(f"  more than {MAX_RATIO:.0f} × quiet: {name}, {ratios[name]:.1f} ×")


def wait_until_up(site: Site) -> None:
    """Until every process has written its first figures or answers."""
    end_s = time.monotonic() + 120
    stats = Path(site.config.run_dir) / "stats"
    with FleetClient(site.config.endpoints.fleet_rpc) as client:
        while client.try_ask(GetRobots(), Robots, 1.0) is None or not all(
            list(stats.glob(f"{name}~*")) for name in ("ingest", "gate", "learner")
        ):
            if time.monotonic() > end_s or site.ended():
                raise SystemExit(f"hostile_peers: the site does not start: {site.ended()}")
            time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each phase")
    parser.add_argument("--attackers", type=int, default=2, help="at the same time")
    parser.add_argument("--kinds", nargs="*", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--attack", nargs=3, metavar=("KIND", "PORT", "SECONDS"))
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    found = parser.parse_args()
    if found.attack:
        attack(found.attack[0], int(found.attack[1]), float(found.attack[2]))
        return 0
    if found.smoke:
        found.seconds, found.attackers, found.kinds = 1.0, 1, ["junk"]
    return run(found.seconds, found.attackers, found.kinds)


if __name__ == "__main__":
    sys.exit(main())
