"""Exclusive locks: one holder, named in the refusal; free again when the holder ends, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.durable.locks import ExclusiveLock, LockHeld
from floop_robot.spec.errors import StorageError

HOLDER = """
import sys, time
from pathlib import Path
from floop_robot.durable.locks import ExclusiveLock
lock = ExclusiveLock(Path(sys.argv[1]), "spool x", "stop it")
print("locked", flush=True)
time.sleep(60)
"""


def lock(path: Path) -> ExclusiveLock:
    return ExclusiveLock(path, "spool x", "stop it")


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_holder_is_refused_at_once_and_told_who_has_it(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LockHeld) as refused:
        lock(tmp_path / "lock")
    assert str(refused.value) == f"spool x is in use by another process (process {holder.pid}); stop it"


def test_a_killed_holder_leaves_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    successor = lock(tmp_path / "lock")
    with pytest.raises(LockHeld):  # it is one lock still, not a second file beside the dead one's
        lock(tmp_path / "lock")
    successor.release()


def test_two_locks_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    first = lock(tmp_path / "lock")
    with pytest.raises(LockHeld):
        lock(tmp_path / "lock")
    first.release()
    first.release()
    lock(tmp_path / "lock").release()


def test_a_lock_is_not_inherited_by_child_processes(tmp_path: Path) -> None:
    first = lock(tmp_path / "lock")
    code = "import sys; print('runs', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], close_fds=False, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "runs\n"
        first.release()
        lock(tmp_path / "lock").release()
    finally:
        child.communicate()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot use spool x: .*file/lock.*; choose a writable folder") as refused:
        lock(tmp_path / "file" / "lock")
    assert "\n" not in str(refused.value)


def test_an_empty_lock_file_has_an_unknown_holder(tmp_path: Path) -> None:
    first = lock(tmp_path / "lock")
    (tmp_path / "lock").write_text("")
    with pytest.raises(LockHeld, match=r"\(unknown\)"):
        lock(tmp_path / "lock")
    first.release()
