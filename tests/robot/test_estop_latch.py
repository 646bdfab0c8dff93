"""The e-stop latch: what clears it, what outlives its process, and a disk that is slow, fails or lies."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floop_robot.durable.stop_file import StopFileWriter
from floop_robot.robot.estop_latch import (
    ALREADY_RESET,
    MAX_REQUESTS,
    NONCE_LIFETIME_S,
    OLD_NONCE,
    OTHER_STOP,
    EstopLatch,
)
from floop_robot.robot.messages import StartCommand
from tests.support.estop_commands import reset_of, stop
from tests.support.waiting import wait_for


def latch_with_nonce(path: Path | None = None, **more: object) -> EstopLatch:
    latch = EstopLatch(path, **more)  # type: ignore[arg-type]
    latch.renew_nonce(0.0)
    return latch


def writer_of(latch: EstopLatch) -> StopFileWriter:
    writer = StopFileWriter({"the e-stop latch": latch.file})
    writer.start()
    return writer


@given(st.lists(st.sampled_from(["stop", "reset", "old reset", "guess"]), max_size=20))
def test_only_a_reset_that_names_the_newest_stop_clears_the_latch(script: list[str]) -> None:
    latch, expected, seen = latch_with_nonce(), False, []
    for word in script:
        if word == "stop":
            latch.stop(stop())
            expected = True
            seen.append(latch.state().stop_id)
        elif word == "reset":
            assert latch.reset(reset_of(latch), 1.0)[0] == bool(seen)
            expected = False
        elif word == "old reset" and len(seen) > 1:
            assert latch.reset(reset_of(latch, stop_id=seen[-2]), 1.0) == (False, OTHER_STOP)
        else:
            assert not latch.reset(reset_of(latch, stop_id="guess"), 1.0)[0]
        assert latch.is_set == expected
    assert len(set(seen)) == len(seen)  # a stop of a stopped arm is a new one, too


def test_a_reset_needs_a_stop_id_and_a_nonce_of_the_last_twenty_seconds() -> None:
    latch = EstopLatch()
    assert latch.reset(reset_of(latch, stop_id=""), 0.0) == (False, "name the stop: stop_id is empty")
    latch.renew_nonce(0.0)
    latch.stop(stop())
    old = reset_of(latch)
    assert latch.reset(reset_of(latch, nonce=""), 0.0) == (False, OLD_NONCE)
    nonces = {old.nonce}
    for second in range(1, 60):
        latch.renew_nonce(float(second))
        nonces.add(latch.state().nonce)
        latch.renew_nonce(second + 0.5)
        assert latch.state().nonce in nonces
        in_time = second <= NONCE_LIFETIME_S
        if not in_time:
            assert latch.reset(old, float(second)) == (False, OLD_NONCE)
    assert len(nonces) == 60
    assert latch.reset(reset_of(latch), 59.0 + NONCE_LIFETIME_S + 0.1) == (False, OLD_NONCE)  # frozen meanwhile
    assert latch.is_set
    assert latch.reset(reset_of(latch), 59.0 + NONCE_LIFETIME_S) == (True, "reset")


def test_a_reset_that_is_done_is_answered_so_again_until_the_next_stop() -> None:
    latch = latch_with_nonce()
    latch.stop(stop())
    reset = reset_of(latch)
    assert latch.reset(reset, 1.0)[0]
    assert latch.state().stop_id == reset.stop_id
    assert latch.reset(reset, 1000.0) == (True, ALREADY_RESET)
    latch.stop(stop())
    assert latch.reset(reset, 2.0) == (False, OTHER_STOP)


def test_a_repeated_stop_changes_nothing() -> None:
    latch = latch_with_nonce()
    latch.stop(stop(request_id="a"))
    first = latch.state()
    assert first.request_id == "a"
    latch.stop(stop("bob", request_id="b"))
    second = latch.state()
    assert second.stop_id != first.stop_id
    for again in ("a", "b"):
        assert not latch.stop(stop(request_id=again))
        assert latch.state() == second
    for again in ("", "", "x" * 201, "x" * 201):  # without an id, or with one too long to remember, each is a new one
        before = latch.state().stop_id
        latch.stop(stop(request_id=again))
        assert latch.state().stop_id != before
    assert latch.reset(reset_of(latch), 1.0)[0]
    latch.stop(stop(request_id="a"))  # of a latch that is open
    assert latch.is_set


def test_the_requests_that_are_remembered_are_bounded() -> None:
    latch = latch_with_nonce()
    for i in range(10 * MAX_REQUESTS):
        latch.stop(stop(str(i), why="y" * 1000, request_id=str(i)))
    newest = latch.state().stop_id
    latch.stop(stop(request_id=str(9 * MAX_REQUESTS)))
    assert latch.state().stop_id == newest
    latch.stop(stop(request_id="0"))
    assert latch.state().stop_id != newest
    assert len(latch.reason) < 1100


def test_reasons_are_collected_until_the_reset() -> None:
    latch = latch_with_nonce()
    for who, why in (("ann", "smoke"), ("bob", "a hand in the cell"), ("ann", "")):
        latch.stop(stop(who, why=why))
    assert latch.reason == "stopped by ann; bob: smoke; a hand in the cell"
    latch.reset(reset_of(latch, "eve", why="aired"), 1.0)
    state = latch.state()
    assert (latch.reason, state.who, state.why) == ("", "eve", "aired")
    latch.stop(stop("eve"))
    assert latch.reason == "stopped by eve"


def test_a_stop_input_that_says_stop_refuses_resets() -> None:
    latch = latch_with_nonce()
    latch.stop(stop())
    assert latch.reset(reset_of(latch), 1.0, "gate_open") == (False, "gate_open still says stop")
    assert latch.reset(reset_of(latch), 1.0)[0]


def test_a_real_arm_stands_after_its_reset_until_it_is_started(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    latch = latch_with_nonce(path, is_real=True)
    assert latch.is_set and "did not know the arm" in latch.reason
    latch.reset(reset_of(latch), 1.0)
    stop_id = latch.state().stop_id
    assert latch.blocks and not latch.is_set
    assert "start_episode" in latch.reason
    latch.file.save()
    again = EstopLatch(path, is_real=True)
    assert again.blocks and not again.is_set and again.state().start_required  # a restart is no start
    assert again.start(StartCommand(who="ann", stop_id="another")) == (False, OTHER_STOP)
    assert again.start(StartCommand(who="ann", stop_id=stop_id)) == (True, "started")
    assert not again.blocks
    again.stop(stop())
    assert not again.start(StartCommand(who="ann", stop_id=again.state().stop_id))[0]
    simulated = latch_with_nonce()
    simulated.stop(stop())
    simulated.reset(reset_of(simulated), 1.0)
    assert not simulated.blocks


def test_a_real_arm_starts_stopped_after_the_computer_was_started(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    for boot_id, expected in (("a", True), ("a", False), ("b", True), ("b", False), ("", True), ("", True)):
        latch = latch_with_nonce(path, is_real=True, boot_id=boot_id)
        assert latch.is_set == expected
        latch.reset(reset_of(latch), 1.0)
        latch.file.save()
    assert not EstopLatch(path, boot_id="c").is_set  # a simulated one does not


def test_only_a_real_arm_s_process_makes_its_arm_known(tmp_path: Path) -> None:
    """A simulated arm in its run directory, or `floop stop` while it does not run, write the same file."""
    path = tmp_path / "stopped"
    simulated = latch_with_nonce(path, boot_id="a")
    simulated.stop(stop())
    simulated.reset(reset_of(simulated), 1.0)
    simulated.file.save()
    real = latch_with_nonce(path, is_real=True, boot_id="a")
    assert real.is_set and "did not know the arm" in real.reason
    real.reset(reset_of(real), 1.0)
    real.file.save()
    simulated = latch_with_nonce(path, boot_id="b")
    simulated.stop(stop())
    simulated.reset(reset_of(simulated), 1.0)
    simulated.file.save()
    assert EstopLatch(path, is_real=True, boot_id="b").is_set, "the computer was started since the arm ran"


def test_a_stop_and_a_reset_outlive_their_process(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    latch = latch_with_nonce(path)
    latch.stop(stop(why="smoke", request_id="r"))
    assert not latch.state().on_disk
    latch.file.save()
    first = latch.state()
    assert first.on_disk
    again = latch_with_nonce(path)
    found = again.state()
    assert (found.who, found.why, found.request_id) == ("ann", "smoke", "r")
    assert found.latched and found.stop_id != first.stop_id  # a start that finds a latch is a new stop
    again.stop(stop(request_id="r"))
    assert again.state().stop_id == found.stop_id
    again.reset(reset_of(again), 1.0)
    again.file.save()
    third = EstopLatch(path)
    assert not third.is_set
    assert third.state().stop_id == found.stop_id and third.state().on_disk


def test_whatever_becomes_of_the_file_means_stopped(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    latch = latch_with_nonce(path)
    latch.stop(stop(why="smoke"))
    latch.reset(reset_of(latch), 1.0)
    latch.file.save()
    sound = path.read_bytes()
    assert not EstopLatch(path).is_set
    for length in range(len(sound) - 1):  # without the line's end it is whole
        path.write_bytes(sound[:length])
        assert EstopLatch(path).is_set
    for other in (
        b"",
        b"null",
        b"{}",
        b"\xff" * 100,
        b"[" * 5000,
        sound * 2,
        sound.replace(b"who", b"whom"),
        b"\0" * 99,
    ):
        path.write_bytes(other)
        latch = EstopLatch(path)
        assert latch.is_set and str(path) in latch.reason and "\n" not in latch.reason
    latch = EstopLatch(path)
    latch.stop(stop(why="smoke", request_id="r"))
    latch.file.save()
    stopped = path.read_bytes()
    for at in range(len(stopped)):
        path.write_bytes(stopped[:at] + bytes([stopped[at] ^ 1 << at % 8]) + stopped[at + 1 :])
        assert EstopLatch(path).is_set


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing", "below a file", "unreadable"])
def test_what_is_no_readable_file_means_stopped(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "stopped"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to nothing":
        path.symlink_to(tmp_path / "nothing")
    elif kind == "below a file":
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "stopped"
    else:
        path.write_bytes(b"{}")
        path.chmod(0)
    latch = latch_with_nonce(path)
    assert latch.is_set and "cannot be read" in latch.reason
    with contextlib.suppress(OSError):
        latch.file.save()
        assert EstopLatch(path).is_set
    assert latch.reset(reset_of(latch), 1.0)[0]  # an operator may still decide


def test_the_reason_on_disk_is_that_of_the_stop_that_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stopped"
    latch = latch_with_nonce(path)
    latch.stop(stop(why="smoke"))
    sync = os.fsync

    def meanwhile(descriptor: int) -> None:
        sync(descriptor)
        monkeypatch.undo()
        latch.reset(reset_of(latch), 1.0)
        latch.stop(stop("bob", why="a hand in the cell"))

    monkeypatch.setattr(os, "fsync", meanwhile)
    latch.file.save()
    assert not latch.file.is_saved
    latch.file.save()
    assert latch.file.is_saved
    assert EstopLatch(path).reason == "stopped by bob: a hand in the cell"


def test_a_failing_disk_does_not_clear_the_latch(tmp_path: Path) -> None:
    latch = EstopLatch(tmp_path / "missing" / "stopped")
    (tmp_path / "missing").touch()  # no folder can be made there
    latch.stop(stop())
    with pytest.raises(OSError):
        latch.file.save()
    assert latch.is_set and not latch.state().on_disk


def test_a_full_disk_has_room_for_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stopped"
    latch = latch_with_nonce(path)
    latch.stop(stop())
    latch.reset(reset_of(latch), 1.0)
    latch.file.save()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("floop_robot.durable.stop_file.replace_file", full)
    latch.stop(stop(why="smoke"))
    with pytest.raises(OSError):
        latch.file.save()
    assert not latch.state().on_disk
    assert EstopLatch(path).is_set


def test_the_servo_loop_does_not_wait_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stopped"
    latch = EstopLatch(path)
    began, fails, sync = threading.Event(), threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        began.set()
        if not fails.is_set():
            fails.wait(20.0)
            raise OSError(5, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with closing(writer_of(latch)) as writer:
        latch.stop(stop())
        before_s = time.monotonic()
        writer.save_changes()
        assert time.monotonic() - before_s < 1.0
        assert not latch.file.is_saved
        wait_for(lambda: EstopLatch(path).is_set)  # a successor is stopped, though the reason is not on disk yet
        wait_for(began.is_set)
        fails.set()
        wait_for(lambda: writer.error)

        def saved() -> bool:
            writer.save_changes()
            return latch.file.is_saved

        wait_for(saved)
        assert EstopLatch(path).reason == "stopped by ann"
        wait_for(lambda: not writer.error)


def test_the_last_change_is_written_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    latch = latch_with_nonce(path)
    writer = writer_of(latch)
    for command in ("stop", "reset", "stop"):
        latch.stop(stop()) if command == "stop" else latch.reset(reset_of(latch), 1.0)
        writer.save_changes()
    writer.close()
    assert EstopLatch(path).is_set


def test_a_writer_ends_though_the_disk_fails_and_says_why(tmp_path: Path) -> None:
    latch = EstopLatch(tmp_path / "missing" / "stopped")
    (tmp_path / "missing").touch()  # no folder can be made there
    writer = writer_of(latch)
    latch.stop(stop())
    writer.close()
    wait_for(lambda: not writer.is_alive(), what="the end of its thread")
    assert writer.error.startswith("the e-stop latch cannot be written to disk: ")
    assert latch.is_set and not latch.file.is_saved


def test_a_kill_at_any_moment_loses_no_stop_that_was_said_to_be_on_disk(tmp_path: Path) -> None:
    """A process that stops and resets in turn says what is on disk; it is killed at random."""
    path, dice = tmp_path / "stopped", random.Random(0)
    code = f"""
from pathlib import Path
from tests.support.estop_commands import reset_of, stop
from floop_robot.robot.estop_latch import EstopLatch
latch = EstopLatch(Path({str(path)!r}))
latch.renew_nonce(0.0)
while True:
    latch.stop(stop()); latch.file.save(); print("stopped", flush=True)
    print("resetting", flush=True); assert latch.reset(reset_of(latch), 1.0)[0]; latch.file.save()
"""
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(dice.uniform(0.0, 0.02))
            process.kill()
            said = process.stdout.read().split()
        last = said[-1] if said else b"stopped"
        latch = EstopLatch(path)
        if last == b"stopped":
            assert latch.is_set
        assert latch.is_set or msgspec.json.decode(path.read_bytes())["latched"] is False
