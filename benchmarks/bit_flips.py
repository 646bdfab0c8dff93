"""Flipped bits and cut files at rest: `python benchmarks/bit_flips.py [--flips 400] [--seed 1]`.

Each round copies sound files, flips one random bit (or cuts a file at a random place), and reads them as floop does.
Three outcomes are counted:

    seen        the damage is named in the log or in an error
    unchanged   nothing is said, and what is read is what was written (white space, unused pages)
    SILENT      nothing is said, and what is read is not what was written

"kept" is the share of rows that are still used, over the rounds that were seen. The bar is no SILENT round.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from floop_robot.bundle.delivery import InstallStage, Receipt
from floop_robot.deploy.registry import (
    Directive,
    JournalPosition,
    LiveEpisode,
    Origin,
    Publication,
    Registry,
    read_history,
)
from floop_robot.learn.checkpoint import Checkpoint, CheckpointInfo
from floop_robot.spec.errors import FloopError
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import ActMode, OutcomeCode, Record, Source, StreamInfo, Transition
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.journal import Journal, JournalEntry
from floop_robot.stream.journal_reader import JournalReader
from floop_robot.stream.protocol import OutgoingBlock
from floop_robot.stream.spool import Spool

INFO = StreamInfo("robot_1", "boot", "floop/Pick-v0", Ids("c", "l", "r"), Source.ROBOT)
MB = 2**20


class Messages(logging.Handler):
    """Collects what is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """As `logging.Handler`."""
        self.lines.append(record.getMessage())


def row(number: int) -> Transition:
    action = np.linspace(-1, 1, 5, dtype=np.float32)
    return Transition(
        seq=0,
        episode=number // 10,
        step=number % 10,
        stamp_ns=10**18 + number,
        policy_version=1,
        act_mode=ActMode.MEAN,
        obs=np.arange(24, dtype=np.float32) + number,
        action_requested=action,
        action=action,
        log_prob=float("nan"),
        reward=0.5,
        terminated=False,
        truncated=False,
        interventions=0,
    )


def rows_of(records: list[Record]) -> list[bytes]:
    return [r.obs.tobytes() + str((r.step, r.stamp_ns)).encode() for r in records if isinstance(r, Transition)]


def make_checkpoint(folder: Path) -> None:
    for steps in (1, 2):  # the same weights, so that "kept" tells whether the one before is used
        random_ = np.random.default_rng(0)
        info = CheckpointInfo(task="floop/Pick-v0", ids=INFO.ids, algo="sac", hidden=(64, 64), gradient_steps=steps)
        arrays = {f"layer_{i}": random_.normal(size=(64, 64)).astype(np.float32) for i in range(8)}
        Checkpoint(info, arrays).save(folder / "checkpoint.learner", keep_previous=True)


def read_checkpoint(folder: Path) -> list[bytes]:
    found = Checkpoint.load_newest(folder / "checkpoint.learner")
    return [msgspec.json.encode(found.info), *(array.tobytes() for _, array in sorted(found.arrays.items()))]


def make_spool(folder: Path) -> None:
    spool = Spool(folder, INFO, 64 * MB, segment_bytes=8192)
    for first in range(0, 400, 8):
        payload = encode_block(spool.info, first, [row(i) for i in range(first, first + 8)])
        spool.commit([OutgoingBlock(first, first + 8, payload)])
    spool.close()


def read_spool(folder: Path) -> list[bytes]:
    with contextlib.closing(Spool(folder, INFO, 64 * MB)) as spool:
        return [
            each
            for boot_id in spool.ends()
            for block in spool.read(boot_id, 0)
            for each in rows_of(decode_block(block.payload).records())
        ]


def entry(boot: str, first: int, count: int) -> JournalEntry:
    info = msgspec.structs.replace(INFO, boot_id=boot)
    payload = encode_block(info, first, [row(i) for i in range(first, first + count)])
    return JournalEntry(decode_block(payload), payload)


def make_journal(folder: Path, *, keep_wal: bool = False) -> None:
    journal = Journal(folder / "journal.sqlite")
    for first in range(0, 200, 8):
        journal.append([entry(boot, first, 8) for boot in ("a", "b", "c")])
    if keep_wal:  # as a killed process leaves them
        for path in list(folder.iterdir()):
            shutil.copy(path, folder / (path.name + ".copy"))
    journal.close()
    for path in folder.glob("*.copy"):
        path.replace(path.with_suffix(""))
    (folder / "journal.sqlite-shm").unlink(missing_ok=True)


def read_journal(folder: Path) -> list[bytes]:
    path = folder / "journal.sqlite"
    journal = Journal(path)
    try:
        reader = JournalReader(path)
        with contextlib.closing(reader):
            found, after = list[bytes](), 0
            while True:
                blocks, through = reader.read(after, 100, 8 * MB)
                for block in blocks:
                    if block.payload is None:
                        logging.warning("block %d is damaged", block.id)
                    else:
                        found += rows_of(decode_block(block.payload).records())
                if through == after:
                    break
                after = through
            marks = {str(item).encode() for item in reader.high_water_marks().items()}
            if not (audit := reader.audit()).is_sound:
                logging.warning("audit: %s", audit)
    finally:
        journal.close()
    return [*sorted(found), *sorted(marks)]


def make_registry(folder: Path) -> None:
    from tests.support.sample_bundles import IDS, TASK, make_bundle

    registry = Registry(folder / "registry.sqlite")
    for number in range(1, 6):
        bundle = make_bundle(number, task=TASK, ids=IDS)
        origin = Origin.BASELINE if number == 1 else Origin.PUSH
        registry.publish(Publication(bundle=bundle, origin=origin, who="ann", detail=f"number {number}"), 10**18)
        for robot in ("robot_1", "robot_2"):
            receipt = Receipt(robot=robot, version=number, stage=InstallStage.ACTING, since_received_s=0.1)
            registry.telemetry.record_receipt(receipt, 10**18 + number)
    episodes = [
        LiveEpisode(
            robot=f"robot_{i % 4}",
            boot_id="b",
            episode=i,
            block=i,
            source=Source.ROBOT,
            version=1 + i % 5,
            act_mode=ActMode.MEAN,
            outcome=OutcomeCode(i % 2),
            object_class="box",
            duration_s=2.0,
            steps=40,
            observed_ns=10**18 + i,
        )
        for i in range(300)
    ]
    registry.telemetry.record_episodes(episodes, JournalPosition(300, "j"))
    registry.set_directive(Directive("robot_1", pin=3), "ann", "pinned", 10**18)
    for i in range(50):
        registry.note("ann", f"looked {i}", 10**18 + i)
    registry.close()


def read_registry(folder: Path) -> list[bytes]:
    path = folder / "registry.sqlite"
    with named("beside its writer"):
        read_history(path)
    registry = Registry(path)
    try:
        found = [msgspec.json.encode(each) for each in registry.directives()]
        found += [str((name, registry.alias(name))).encode() for name in ("production", "baseline")]
        found.append(str(registry.telemetry.journal_position).encode())
        for version in registry.versions():
            with named(version.version):
                found.append(registry.blob(version.version))
    finally:
        registry.close()
    history = read_history(path)
    parts = (history.versions, history.receipts, history.episodes, history.audit)
    return found + [msgspec.json.encode(each) for part in parts for each in part]


@contextlib.contextmanager
def named(what: object) -> Iterator[None]:
    try:
        yield
    except FloopError as error:
        logging.warning("%s: %s", what, error)


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], list[bytes]], str]] = {
    "checkpoint": (make_checkpoint, read_checkpoint, "*.learner"),
    "spool": (make_spool, read_spool, "*.log"),
    "journal": (make_journal, read_journal, "*.sqlite"),
    "journal WAL": (lambda folder: make_journal(folder, keep_wal=True), read_journal, "*.sqlite-wal"),
    "registry": (make_registry, read_registry, "*.sqlite"),
}


def damage(folder: Path, pattern: str, draw: random.Random, cut: bool) -> str:
    files = sorted(folder.glob(pattern))
    path = draw.choices(files, [f.stat().st_size for f in files])[0]
    data = bytearray(path.read_bytes())
    at = draw.randrange(len(data))
    bit = draw.randrange(8)
    if cut:
        del data[at:]
    else:
        data[at] ^= 1 << bit
    path.write_bytes(data)
    return f"{path.name} at byte {at} of {len(data)}" + ("" if cut else f", bit {bit}")


def one_round(
    sound: Path, kind: str, before: list[bytes], draw: random.Random, cut: bool, messages: Messages
) -> tuple[str, float, str]:
    _, read, pattern = KINDS[kind]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "copy"
        shutil.copytree(sound, folder)
        where = damage(folder, pattern, draw, cut)
        messages.lines.clear()
        try:
            after = read(folder)
        except FloopError as error:
            messages.lines.append(str(error))
            after = []
        except (sqlite3.Error, ValueError, KeyError, TypeError, OverflowError, UnicodeError, AssertionError) as error:
            return "TRACEBACK", 0.0, f"{where}: {type(error).__name__}: {error}"
    if messages.lines:
        kept = len(set(before) & set(after)) / len(set(before))
        foreign = set(after) - set(before)
        return "seen", kept, f"{where}: {messages.lines[0]}" + (f" [{len(foreign)} other]" if foreign else "")
    return ("unchanged" if sorted(before) == sorted(after) else "SILENT"), 1.0, where


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=400)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=list(KINDS), default=None)
    parser.add_argument("--verbose", action="store_true", help="one line per round")
    parser.add_argument("--smoke", action="store_true", help="a few rounds, to see that it runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.flips, arguments.cuts = 3, 1
    messages = Messages()
    logging.getLogger().handlers[:] = [messages]
    silent, began_s = 0, time.monotonic()
    print(f"seed {arguments.seed}\n{'what':<20} {'rounds':>6} {'seen':>6} {'unchanged':>10} {'SILENT':>7} {'kept':>7}")
    for kind, (make, read, _) in KINDS.items():
        if arguments.only not in (None, kind):
            continue
        with tempfile.TemporaryDirectory() as name:
            sound, spare = Path(name) / "sound", Path(name) / "spare"
            sound.mkdir()
            make(sound)
            shutil.copytree(sound, spare)
            before = read(spare)
            for cut in (False, True):
                draw, counts, kept = random.Random(f"{arguments.seed} {kind} {cut}"), Counter[str](), list[float]()
                for _ in range(arguments.cuts if cut else arguments.flips):
                    outcome, share, text = one_round(sound, kind, before, draw, cut, messages)
                    counts[outcome] += 1
                    if outcome == "seen":
                        kept.append(share)
                    if arguments.verbose or outcome in ("SILENT", "TRACEBACK"):
                        print(f"  {outcome}: {text}")
                silent += counts["SILENT"] + counts["TRACEBACK"]
                share = f"{np.mean(kept):.1%}" if kept else "-"
                what = f"{kind}, {'cut' if cut else 'flipped'}"
                print(
                    f"{what:<26} {sum(counts.values()):>5} {counts['seen']:>5} {counts['unchanged']:>9} "
                    f"{counts['SILENT'] + counts['TRACEBACK']:>8} {share:>8}",
                    flush=True,
                )
    print(f"{time.monotonic() - began_s:.0f} s")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
