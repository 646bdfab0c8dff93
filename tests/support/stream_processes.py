"""Real ingest and sender processes to test with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from floop_robot.spec.config import Endpoints, FloopConfig, save_config
from floop_robot.stream.codec import decode_block
from floop_robot.stream.journal_reader import JournalReader
from floop_robot.stream.tail_client import TailClient
from tests.support.ports import free_base_port
from tests.support.waiting import wait_for

SENDER = """
import sys, time
from pathlib import Path
from floop_robot.stream.uploader import RecordUploader
from tests.support.sample_records import stream_info, transition
folder, endpoint, robot, rate = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
uploader = RecordUploader(folder, stream_info(robot), endpoint, sync_interval_s=0.01)
number = uploader.stats().writer.durable_seq
while True:
    if uploader.put(transition(number)):
        number += 1
    stats = uploader.stats()
    print(uploader.info.boot_id, stats.sender.acked_seq, flush=True)
    time.sleep(1 / rate)
"""


class IngestProcess:
    """The ingest process on its own ports and folder; killed and started again at will."""

    def __init__(self, folder: Path) -> None:
        self.run_dir = folder / "run"
        self.config = FloopConfig(run_dir=str(self.run_dir), endpoints=Endpoints(base_port=free_base_port()))
        self.path = folder / "config.yaml"
        save_config(self.config, self.path)
        self.log = folder / "ingest.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def journal(self) -> Path:
        return self.run_dir / "journal.sqlite"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = start_python("-m", "floop_robot.services.ingest", "--config", str(self.path), stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(10)

    def tail(self) -> TailClient:
        return TailClient(self.config.endpoints.tail)


class SenderProcess:
    """A robot that records 200 rows/s, and a ledger of what it saw acknowledged."""

    def __init__(self, folder: Path, robot: str, endpoint: str, rate: float = 200.0) -> None:
        self.robot, self._arguments = robot, (str(folder / robot), endpoint, robot, str(rate))
        self.ledger = folder / f"{robot}.ledger"
        self._log: IO[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._log = self.ledger.open("ab")
        self.process = start_python("-c", SENDER, *self._arguments, stdout=self._log)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self._log is not None
        self._log.write(b"\n")  # a line the kill cut off
        self._log.close()

    def acknowledged(self) -> dict[str, int]:
        """By boot: one past the newest acknowledged key."""
        marks: dict[str, int] = {}
        for line in self.ledger.read_bytes().splitlines(keepends=True):
            parts = line.split()
            if len(parts) == 2 and line.endswith(b"\n"):
                boot = parts[0].decode()
                marks[boot] = max(marks.get(boot, 0), int(parts[1]))
        return marks

    def wait_for_progress(self, rows: int) -> None:
        before = sum(self.acknowledged().values())
        wait_for(lambda: sum(self.acknowledged().values()) >= before + rows, 20, f"{self.robot} being acknowledged")


def start_python(
    *arguments: str, stdout: IO[bytes] | None = None, stderr: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Another Python that finds what this one finds."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen([sys.executable, *arguments], stdout=stdout, stderr=stderr, env=environment)


def rows_by_stream(journal: Path) -> dict[tuple[str, str], list[int]]:
    """The number each transition carries, in the order of the journal."""
    reader = JournalReader(journal)
    found: dict[tuple[str, str], list[int]] = {}
    rows, after, through = [], -1, 0
    while after != through:  # a reading ends after a number of blocks
        after = through
        more, through = reader.read(after, 10**9, 10**12)
        rows += more
    reader.close()
    for row in rows:
        assert row.payload is not None
        block = decode_block(row.payload)
        assert block.transitions is not None and not block.events
        assert block.transitions.seq.tolist() == block.transitions.step.tolist()  # the content is that of the key
        found.setdefault((block.info.robot, block.info.boot_id), []).extend(block.transitions.step.tolist())
    return found
