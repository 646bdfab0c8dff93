"""SIGKILL at each system call that changes a disk: `python benchmarks/kill_points.py [--only journal] [--every 1]`.

A process does one piece of work again and again, each time in a new folder. It is killed just before its first such
call, then before its second, and so on, until it gets to its end. After each kill the files are opened as floop does:
nothing that was told as done may be missing, nothing may be refused, and what follows must work. Linux on x86-64 only:
it counts the calls with ptrace(2), since SQLite's are seen nowhere else. Exit status 1 when something falls short.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import math
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.deploy.registry import PRODUCTION, Directive, Origin, Publication, Registry, read_history
from floop_robot.durable.files import write_atomic
from floop_robot.durable.newest_file import load_newest
from floop_robot.durable.number_file import NumberFile
from floop_robot.services.backup import back_up, read_manifest, restore
from floop_robot.spec.errors import FloopError, StorageError
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import ActMode, Source, StreamInfo, Transition
from floop_robot.stream import journal_retention
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.journal import Journal, JournalEntry
from floop_robot.stream.journal_reader import JournalReader
from floop_robot.stream.journal_retention import JournalLimits
from floop_robot.stream.protocol import OutgoingBlock
from floop_robot.stream.spool import Spool

INFO = StreamInfo("robot_1", "boot", "floop/Pick-v0", Ids("c", "l", "r"), Source.ROBOT)
ROWS = 20
LIMITS = JournalLimits(max_bytes=20_000, kept_transitions=1)
POLICY = Bundle.load(baseline("floop/Pick-v0"))
SAY = "done"
"""File with a byte for each step that was told as done; it is written before the next one begins."""


class Work(msgspec.Struct, frozen=True):
    """What is killed, and how its files are looked at."""

    prepare: Callable[[Path], None]
    do: Callable[[Path], None]
    check: Callable[[Path, int], None]
    """With the number of steps that were told as done; raises when something is wrong."""


def say(folder: Path) -> None:
    """Tell that a step is done."""
    with (folder / SAY).open("ab") as file:
        file.write(b".")


def entry(first: int) -> JournalEntry:
    action = np.zeros(5, np.float32)
    records = [
        Transition(
            seq=0,
            episode=1,
            step=i,
            stamp_ns=1,
            policy_version=1,
            act_mode=ActMode.MEAN,
            obs=np.full(24, first + i, np.float32),
            action_requested=action,
            action=action,
            log_prob=math.nan,
            reward=0.0,
            terminated=False,
            truncated=False,
            interventions=0,
        )
        for i in range(ROWS)
    ]
    payload = encode_block(INFO, first, records)
    return JournalEntry(decode_block(payload), payload)


def append(folder: Path, count: int, limits: JournalLimits | None = None) -> None:
    with contextlib.closing(Journal(folder / "journal.sqlite", limits)) as journal:
        for _ in range(count):
            journal.append([entry(journal.high_water_mark("robot_1", "boot") or 0)])
            say(folder)
            if limits is not None:
                journal._due_s = 0.0
                journal.maintain()


def check_journal(folder: Path, done: int) -> None:
    path = folder / "journal.sqlite"
    with contextlib.closing(Journal(path)) as journal:
        mark = journal.high_water_mark("robot_1", "boot") or 0
        assert mark in (done * ROWS, (done + 1) * ROWS), f"mark {mark}, {done} blocks told"
        assert journal.head * ROWS == mark, f"head {journal.head}"
        with contextlib.closing(JournalReader(path)) as reader:
            assert reader.audit().is_sound, reader.audit()
        journal.append([entry(mark)])


def damaged_journal(folder: Path) -> None:
    append(folder, 40)
    (folder / SAY).unlink()
    path = folder / "journal.sqlite"
    data = bytearray(path.read_bytes())
    data[data.index(entry(20 * ROWS).payload[:100]) // 4096 * 4096] = 0xFF  # the page of this block
    path.write_bytes(data)


def check_salvaged(folder: Path, done: int) -> None:
    with contextlib.closing(Journal(folder / "journal.sqlite")) as journal:
        assert journal.head in (40 + done, 41), f"head {journal.head}"
        with contextlib.closing(JournalReader(journal.path)) as reader:
            audit = reader.audit()
        assert 20 < audit.blocks < 41 and not audit.damaged, audit


def publish(folder: Path) -> None:
    with contextlib.closing(Registry(folder / "registry.sqlite")) as registry:
        for number in range(3):
            origin = Origin.PUSH if number else Origin.BASELINE
            registry.publish(Publication(bundle=POLICY, origin=origin, who="ann"), 10**18 + number)
            say(folder)
        registry.set_directive(Directive("robot_1", pin=2), "ann", "pinned", 10**18)
        say(folder)


def check_registry(folder: Path, done: int) -> None:
    path = folder / "registry.sqlite"
    with contextlib.closing(Registry(path)) as registry:
        count = len(registry.versions())
        assert count in (min(done, 3), min(done + 1, 3)), f"{count} versions, {done} steps told"
        assert registry.alias(PRODUCTION) == count and all(registry.blob(i + 1) for i in range(count))
        assert done < 4 or registry.directive("robot_1").pin == 2
        assert registry.publish(Publication(bundle=POLICY, origin=Origin.PUSH, who="ann"), 1).version == count + 1
    assert len(read_history(path).versions) == count + 1


def spool(folder: Path) -> None:
    with contextlib.closing(Spool(folder / "spool", INFO, 1 << 20, segment_bytes=8192)) as made:
        for first in range(made.durable_seq, made.durable_seq + 12 * ROWS, ROWS):
            made.commit([OutgoingBlock(first, first + ROWS, entry(first).payload)])
            say(folder)
        made.acknowledge(made.info.boot_id, made.durable_seq)


def check_spool(folder: Path, done: int) -> None:
    with contextlib.closing(Spool(folder / "spool", INFO, 1 << 20)) as made:
        (end,) = {made.ends()[boot] for boot in list(made.ends())[:1]}
        assert end in (done * ROWS, (done + 1) * ROWS), f"end {end}, {done} blocks told"
        boot_id = next(iter(made.ends()))
        found = list(made.read(boot_id, 0))
        assert not found or found[-1].end_seq == end
        first = made.durable_seq
        made.commit([OutgoingBlock(first, first + ROWS, entry(first).payload)])


def small_files(folder: Path) -> None:
    for number in range(4):
        write_atomic(folder / "policy", bytes([number]) * 5000, keep_previous=True)
        NumberFile(folder / "seed").store(number)
        say(folder)


def check_small_files(folder: Path, done: int) -> None:
    seed = NumberFile(folder / "seed").load()
    assert seed in (done - 1, done) or (done == 0 and seed is None), f"seed {seed}, {done} told"
    if done or (folder / "policy").exists():
        data = load_newest(folder / "policy", Path.read_bytes, StorageError)
        assert data in (bytes([done - 1]) * 5000 if done else b"", bytes([done]) * 5000)
    small_files(folder)


def fleet(folder: Path) -> None:
    run = folder / "run"
    run.mkdir()
    append(run, 20)
    publish(run)
    (run / "gate").mkdir()
    (run / "gate" / "next_seed").write_bytes(b"7")


def copy(folder: Path) -> None:
    back_up(folder / "run", folder / "backup")
    say(folder)
    restore(folder / "backup", folder / "again")
    say(folder)


def check_copy(folder: Path, done: int) -> None:
    if not done and not (folder / "backup" / "backup.json").exists():
        with contextlib.suppress(StorageError):
            raise AssertionError(f"half a backup is taken for one: {read_manifest(folder / 'backup')}")
        shutil.rmtree(folder / "backup", ignore_errors=True)
        back_up(folder / "run", folder / "backup")
    if done < 2 and not (folder / "again" / "registry.sqlite").exists():
        restore(folder / "backup", folder / "again")
    assert len(read_history(folder / "again" / "registry.sqlite").versions) == 3
    with contextlib.closing(JournalReader(folder / "again" / "journal.sqlite")) as reader:
        assert reader.audit().blocks == 20 and reader.audit().is_sound


def nothing(_: Path) -> None:
    pass


KINDS = {
    "journal": Work(nothing, lambda folder: append(folder, 6), check_journal),
    "journal, compaction": Work(nothing, lambda folder: append(folder, 10, LIMITS), check_journal),
    "journal, salvage": Work(damaged_journal, lambda folder: append(folder, 1), check_salvaged),
    "registry": Work(nothing, publish, check_registry),
    "spool": Work(nothing, spool, check_spool),
    "small files": Work(nothing, small_files, check_small_files),
    "backup and restore": Work(fleet, copy, check_copy),
}

# ptrace(2), x86-64
_TRACEME, _PEEKUSER, _SYSCALL, _SETOPTIONS = 0, 3, 24, 0x4200
_SYSCALL_GOOD, _EXIT_KILL = 1, 0x100000
_ORIG_RAX = 15 * 8
CHANGING = {
    1: "write", 18: "pwrite64", 20: "writev", 74: "fsync", 75: "fdatasync", 76: "truncate", 77: "ftruncate",
    82: "rename", 83: "mkdir", 84: "rmdir", 86: "link", 87: "unlink", 263: "unlinkat", 264: "renameat",
    265: "linkat", 285: "fallocate", 316: "renameat2", 40: "sendfile", 326: "copy_file_range",
}  # fmt: skip
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def killed_at(work: Work, folder: Path, number: int) -> str:
    """Do the work in a process that is killed before its `number`-th call (from 1); the call, or "" at its end."""
    child = os.fork()
    if child == 0:
        _libc.ptrace(_TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            work.do(folder)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    _libc.ptrace(_SETOPTIONS, child, None, _SYSCALL_GOOD | _EXIT_KILL)
    count, is_entry = 0, True
    while True:
        _libc.ptrace(_SYSCALL, child, None, None)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return ""
        if os.WSTOPSIG(status) != signal.SIGTRAP | 0x80:
            continue
        call = _libc.ptrace(_PEEKUSER, child, _ORIG_RAX, None)
        count += is_entry and call in CHANGING
        if is_entry and count == number:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return CHANGING[call]
        is_entry = not is_entry


def run(name: str, every: int, most: int) -> tuple[int, int]:
    """Kill at each call; returns the number of kills, and how many went wrong."""
    work, kills, wrong, number = KINDS[name], 0, 0, 1
    with tempfile.TemporaryDirectory() as temporary:
        prepared, folder = Path(temporary) / "prepared", Path(temporary) / "folder"
        prepared.mkdir()
        work.prepare(prepared)
        while kills < most:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(prepared, folder)
            call = killed_at(work, folder, number)
            done = (folder / SAY).stat().st_size if (folder / SAY).exists() else 0
            try:
                work.check(folder, done)
            except (FloopError, AssertionError, OSError, ValueError, IndexError) as error:
                wrong += 1
                print(f"  {name}, before call {number} ({call or 'end'}): {type(error).__name__}: {error}")
            if not call:
                break
            kills, number = kills + 1, number + every
    return kills, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(KINDS), default=None)
    parser.add_argument("--every", type=int, default=1, help="kill at every N-th call")
    parser.add_argument("--smoke", action="store_true", help="a few kills, to see that it runs")
    found = parser.parse_args()
    if platform.machine() != "x86_64" or sys.platform != "linux":
        print("this needs Linux on x86-64")
        return 0
    logging.disable(logging.CRITICAL)
    journal_retention.RUN_TRANSITIONS = 1  # blocks leave one by one
    total = failed = 0
    print(f"{'what':<22} {'kills':>6} {'wrong':>6}")
    for name in KINDS:
        if found.only in (None, name):
            kills, wrong = run(name, 37 if found.smoke else found.every, 3 if found.smoke else 10**6)
            total, failed = total + kills, failed + wrong
            print(f"{name:<22} {kills:>6} {wrong:>6}", flush=True)
    print(f"{'together':<22} {total:>6} {failed:>6}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
