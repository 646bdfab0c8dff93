"""A journal of gigabytes: how long starts, answers, removals, copies and a salvage take.

    python benchmarks/journal_size.py [--gb 0.2 1 2] [--folder DIR]

Blocks are as robots make them: 4 rows, 1.6 KB. Each size is a row, so that the table says how figures grow. Figures are
CPU times: other work on the machine does not change them, and waiting for the disk is not in them. It needs three
times the largest size.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from floop_robot.durable.sqlite_salvage import salvage
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import ActMode, Record, Source, StreamInfo, Transition
from floop_robot.stream.codec import decode_block, encode_block, stored_crc
from floop_robot.stream.journal import CONTENT, Journal, JournalEntry
from floop_robot.stream.journal_reader import JournalReader, block_crc
from floop_robot.stream.journal_retention import JournalLimits

ROWS, GROUP, ROBOTS = 4, 5000, 10
INFO = StreamInfo("robot_0", "boot", "floop/Pick-v0", Ids("c", "l", "r"), Source.ROBOT)


class Figures(msgspec.Struct):
    """A row of the table."""

    gb: float
    blocks: int
    start_s: float
    use_s: float
    newest_s: float
    commit_s: float
    removal_s: float
    backup_s: float
    audit_s: float
    salvage_s: float


def rows(first: int) -> list[Record]:
    draw = np.random.default_rng(first)
    return [
        Transition(
            seq=0,
            episode=first // 40,
            step=(first + i) % 40,
            stamp_ns=10**18 + first + i,
            policy_version=1,
            act_mode=ActMode.SAMPLE,
            obs=draw.normal(size=37).astype(np.float32),
            action_requested=draw.normal(size=5).astype(np.float32),
            action=draw.normal(size=5).astype(np.float32),
            log_prob=0.0,
            reward=0.5,
            terminated=False,
            truncated=False,
            interventions=0,
        )
        for i in range(ROWS)
    ]


def entry(number: int, records: list[Record]) -> JournalEntry:
    info = msgspec.structs.replace(INFO, robot=f"robot_{number % ROBOTS}")
    payload = encode_block(info, number // ROBOTS * ROWS, records)
    return JournalEntry(decode_block(payload), payload)


def timed(what: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds that one call takes."""
    began_s = time.process_time()
    for _ in range(repeats):
        what()
    return (time.process_time() - began_s) / repeats


def fill(path: Path, size: float) -> int:
    """Rows as `Journal.append` writes them, but all with the same few payloads, and many at once; returns how many."""
    number, payloads = 0, [entry(robot, rows(robot)).payload for robot in range(ROBOTS)]
    with contextlib.closing(Journal(path, JournalLimits(max_bytes=1e12))) as journal:
        journal.append([entry(robot, rows(robot)) for robot in range(ROBOTS)])
        number, db = ROBOTS, journal._db
        while path.stat().st_size < size:
            db.execute("BEGIN")
            db.executemany(
                "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (row(i, payloads[i % ROBOTS]) for i in range(number, number + GROUP)),
            )
            number += GROUP
            db.execute("UPDATE streams SET next_seq = ?", (number // ROBOTS * ROWS,))
            db.execute("COMMIT")
        journal.head = number  # its summary holds them at the end
    return number


def row(number: int, payload: bytes) -> tuple[object, ...]:
    first = number // ROBOTS * ROWS
    facts = (f"robot_{number % ROBOTS}", "boot", first, first + ROWS, 1, 0, ROWS, 10**18 + number)
    return (number + 1, *facts, block_crc(number + 1, facts, stored_crc(payload)), payload)


def measure(folder: Path, gb: float) -> Figures:
    path = folder / "journal.sqlite"
    number = fill(path, gb * 1e9)
    began_s = time.process_time()
    journal = Journal(path, JournalLimits(max_bytes=0.95 * path.stat().st_size))
    start_s = time.process_time() - began_s
    reader = JournalReader(path)
    with contextlib.closing(journal), contextlib.closing(reader):
        use_s = timed(reader.use, 20)
        newest_s = timed(lambda: reader.read(journal.head - 500, 500, 2**24))
        commits = iter([[entry(number + i, rows(i))] for i in range(200)])
        commit_s = timed(lambda: journal.append(next(commits)), 200)
        removals = [timed(lambda: journal._retention.step(time.time_ns())) for _ in range(10)]
        audit_s = timed(reader.audit)
    backup = folder / "copy.sqlite"
    from floop_robot.services.backup import _copy_database

    backup_s = timed(lambda: _copy_database(path, backup))
    backup.unlink()
    with path.open("r+b") as file:  # a page in the middle
        file.seek(int(gb * 1e9 / 2) // 4096 * 4096)
        file.write(bytes(4096))
    salvage_s = timed(lambda: salvage(path, CONTENT))
    return Figures(gb, number, start_s, use_s, newest_s, commit_s, max(removals), backup_s, audit_s, salvage_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, nargs="+", default=[0.2, 1.0, 2.0])
    parser.add_argument("--folder", type=Path, default=None, help="where to make them; left out: a temporary folder")
    parser.add_argument("--smoke", action="store_true", help="one small journal, to see that it runs")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    heads = ("GB", "blocks", "start s", "status s", "newest 500 s", "commit ms", "removal ms", "copy s", "audit s",
             "salvage s")  # fmt: skip
    print(" ".join(f"{head:>12}" for head in heads))
    for gb in [0.002] if arguments.smoke else arguments.gb:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            f = measure(Path(name), gb)
        cells = (
            f"{f.gb:g}", f"{f.blocks}", f"{f.start_s:.3f}", f"{f.use_s:.4f}", f"{f.newest_s:.3f}",
            f"{1000 * f.commit_s:.2f}", f"{1000 * f.removal_s:.0f}", f"{f.backup_s:.1f}", f"{f.audit_s:.1f}",
            f"{f.salvage_s:.1f}",
        )  # fmt: skip
        print(" ".join(f"{cell:>12}" for cell in cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
