"""The e-stop latch: what clears it, what outlives its process, and a disk that is slow or fails."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floop_robot.robot.estop_latch import EstopLatch, EstopLatchWriter
from floop_robot.robot.messages import EstopCommand
from floop_robot.robot.safety_loop import SafetyCore, SafetyLink, SafetyLoop
from floop_robot.spec.robot_model import load_robot
from tests.support.control_loop_rig import Queue
from tests.support.waiting import wait_for


@given(st.lists(st.booleans(), max_size=20))
def test_only_a_reset_clears_the_latch(stops: list[bool]) -> None:
    latch = EstopLatch()
    for i, stop in enumerate(stops):
        latch.apply(EstopCommand(stop=stop, who=f"person {i}"))
        assert latch.is_set == stop
        if stop:
            first = next(j for j in range(i, -1, -1) if j == 0 or not stops[j - 1])
            assert latch.reason == f"stopped by person {first}"
        else:
            assert latch.reason == ""


def test_a_reset_that_comes_too_late_changes_nothing() -> None:
    latch = EstopLatch()
    stop, now_s = EstopCommand(stop=True, who="ann"), time.monotonic()
    assert latch.apply(stop)
    assert not latch.apply(EstopCommand(stop=False, who="bob", deadline_s=now_s - 0.001))
    assert not latch.apply(EstopCommand(stop=False, who="bob", after_stops=0))
    assert latch.is_set and latch.last_command is stop
    reset = EstopCommand(stop=False, who="bob", after_stops=1, deadline_s=now_s + 60.0)
    assert latch.apply(reset)
    assert not latch.is_set and latch.last_command is reset


def test_a_stop_and_a_reset_outlive_their_process(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    latch = EstopLatch(path)
    latch.apply(EstopCommand(stop=True, who="ann", why="smoke"))
    latch.save()
    assert path.read_text() == "stopped by ann: smoke\n"
    again = EstopLatch(path)
    assert again.is_set
    again.apply(EstopCommand(stop=True, who="bob"))
    again.apply(EstopCommand(stop=False, who="bob"))
    again.save()
    assert not EstopLatch(path).is_set
    again.save()


def test_a_stop_after_the_last_tick_is_saved_and_a_reset_is_not(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    core = SafetyCore(load_robot("panda"), 50.0, 12.5, 0.1, EstopLatch(path))
    commands = Queue[EstopCommand](size=None)
    loop = SafetyLoop(core, SafetyLink(Queue(), Queue(), commands, Queue(), Queue()))
    commands.send(EstopCommand(stop=True, who="ann"))
    commands.send(EstopCommand(stop=False, who="bob"))
    loop.close()
    assert path.read_text() == "stopped by ann\n"


def test_the_reason_on_disk_is_that_of_the_stop_that_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stopped"
    latch = EstopLatch(path)
    latch.apply(EstopCommand(stop=True, who="ann", why="smoke"))
    sync = os.fsync

    def meanwhile(descriptor: int) -> None:
        sync(descriptor)
        monkeypatch.undo()
        latch.apply(EstopCommand(stop=False, who="ann"))
        latch.apply(EstopCommand(stop=True, who="bob", why="a hand in the cell"))

    monkeypatch.setattr(os, "fsync", meanwhile)
    latch.save()
    assert not latch.is_saved
    latch.save()
    assert latch.is_saved
    assert EstopLatch(path).is_set and path.read_text() == "stopped by bob: a hand in the cell\n"


class ReasonWatched(EstopLatch):
    """Notes what another thread could have written down in the moment when the latch is set."""

    reasons: list[str]

    def __setattr__(self, name: str, value: object) -> None:
        if name == "is_set" and value:
            self.__dict__.setdefault("reasons", []).append(self.__dict__.get("reason", ""))
        super().__setattr__(name, value)


def test_the_reason_is_there_before_the_latch_is_set() -> None:
    latch = ReasonWatched()
    latch.apply(EstopCommand(stop=True, who="ann", why="smoke"))
    assert latch.reasons == ["stopped by ann: smoke"]


def test_a_failing_disk_does_not_clear_the_latch(tmp_path: Path) -> None:
    latch = EstopLatch(tmp_path / "missing" / "stopped")
    latch.apply(EstopCommand(stop=True, who="ann"))
    with pytest.raises(OSError):
        latch.save()
    assert latch.is_set


def test_a_half_written_stop_is_removed_by_its_reset(tmp_path: Path) -> None:
    folder = tmp_path / "links"
    path = folder / "stopped"
    latch = EstopLatch(path)
    latch.apply(EstopCommand(stop=True, who="ann"))
    with pytest.raises(OSError):
        latch.save()  # the folder is not there
    folder.mkdir()
    path.write_text("what half a write leaves\n")
    assert not latch.is_saved
    latch.apply(EstopCommand(stop=False, who="ann"))
    assert not latch.is_saved  # the reset has to be written down, whatever became of the stop
    latch.save()
    assert not path.exists()
    assert latch.is_saved


def test_a_reset_does_not_clear_a_later_stop() -> None:
    latch = EstopLatch()
    latch.apply(EstopCommand(stop=True, who="ann"))
    seen = latch.stops
    latch.apply(EstopCommand(stop=True, who="bob"))
    latch.apply(EstopCommand(stop=False, who="ann", after_stops=seen))
    assert latch.is_set
    latch.apply(EstopCommand(stop=False, who="ann", after_stops=latch.stops))
    assert not latch.is_set


def test_the_servo_loop_does_not_wait_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stopped"
    latch = EstopLatch(path)
    fails, sync = threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        if not fails.is_set():
            fails.wait(20.0)
            raise OSError(5, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with closing(EstopLatchWriter(latch)) as writer:
        latch.apply(EstopCommand(stop=True, who="ann"))
        before_s = time.monotonic()
        writer.save_changes()
        assert time.monotonic() - before_s < 1.0
        assert not latch.is_saved
        wait_for(lambda: EstopLatch(path).is_set)  # a successor is stopped, though the reason is not on disk yet
        fails.set()
        wait_for(lambda: writer.error)

        def saved() -> bool:
            writer.save_changes()
            return latch.is_saved

        wait_for(saved)
        assert path.read_text() == "stopped by ann\n"
        wait_for(lambda: not writer.error)


def test_the_last_change_is_written_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    latch = EstopLatch(path)
    writer = EstopLatchWriter(latch)
    for stop in (True, False, True):
        latch.apply(EstopCommand(stop=stop, who="ann"))
        writer.save_changes()
    writer.close()
    assert EstopLatch(path).is_set


def test_a_writer_ends_though_the_disk_fails_and_says_why(tmp_path: Path) -> None:
    latch = EstopLatch(tmp_path / "missing" / "stopped")
    writer = EstopLatchWriter(latch)
    latch.apply(EstopCommand(stop=True, who="ann"))
    writer.close()
    wait_for(lambda: not writer._thread.is_alive(), what="the end of its thread")
    assert writer.error.startswith("the e-stop latch cannot be written to disk: ")
    assert latch.is_set and not latch.is_saved
