"""The stop latch: what opens it, what outlives its process, and a disk that refuses or takes its time."""

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
from floop_robot.robot.safety_loop import SafetyCore, SafetyLoop
from floop_robot.spec.robot_model import load_robot
from tests.support.control_loop_rig import Queue
from tests.support.waiting import wait_for


@given(st.lists(st.booleans(), max_size=20))
def test_the_latch_opens_only_by_release(stops: list[bool]) -> None:
    latch = EstopLatch()
    for i, stop in enumerate(stops):
        latch.take(EstopCommand(stop=stop, who=f"person {i}"))
        assert latch.is_set == stop
        if stop:
            first = next(j for j in range(i, -1, -1) if j == 0 or not stops[j - 1])
            assert latch.reason == f"stopped by person {first}"
        else:
            assert latch.reason == ""


def test_a_release_that_comes_too_late_is_none() -> None:
    latch = EstopLatch()
    stop, now_s = EstopCommand(stop=True, who="ann"), time.monotonic()
    assert latch.take(stop)
    assert not latch.take(EstopCommand(stop=False, who="bob", until_s=now_s - 0.001))
    assert not latch.take(EstopCommand(stop=False, who="bob", after=0))
    assert latch.is_set and latch.by is stop
    release = EstopCommand(stop=False, who="bob", after=1, until_s=now_s + 60.0)
    assert latch.take(release)
    assert not latch.is_set and latch.by is release


def test_a_stop_outlives_its_process_and_a_release_does_too(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    latch = EstopLatch(path)
    latch.take(EstopCommand(stop=True, who="ann", why="smoke"))
    latch.keep()
    assert path.read_text() == "stopped by ann: smoke\n"
    again = EstopLatch(path)
    assert again.is_set
    again.take(EstopCommand(stop=True, who="bob"))
    again.take(EstopCommand(stop=False, who="bob"))
    again.keep()
    assert not EstopLatch(path).is_set
    again.keep()


def test_a_stop_that_comes_after_the_last_tick_is_kept_for_the_successor_and_a_release_is_not(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    core = SafetyCore(load_robot("panda"), 50.0, 12.5, 0.1, EstopLatch(path))
    orders = Queue[EstopCommand](size=None)
    loop = SafetyLoop(core, Queue(), Queue(), orders, Queue(), Queue())
    orders.send(EstopCommand(stop=True, who="ann"))
    orders.send(EstopCommand(stop=False, who="bob"))
    loop.close()
    assert path.read_text() == "stopped by ann\n"


def test_the_reason_on_disk_is_that_of_the_stop_that_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stopped"
    latch = EstopLatch(path)
    latch.take(EstopCommand(stop=True, who="ann", why="smoke"))
    sync = os.fsync

    def meanwhile(descriptor: int) -> None:
        sync(descriptor)
        monkeypatch.undo()
        latch.take(EstopCommand(stop=False, who="ann"))
        latch.take(EstopCommand(stop=True, who="bob", why="a hand in the cell"))

    monkeypatch.setattr(os, "fsync", meanwhile)
    latch.keep()
    assert not latch.is_kept
    latch.keep()
    assert latch.is_kept
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
    latch.take(EstopCommand(stop=True, who="ann", why="smoke"))
    assert latch.reasons == ["stopped by ann: smoke"]


def test_a_disk_that_refuses_does_not_open_the_latch(tmp_path: Path) -> None:
    latch = EstopLatch(tmp_path / "missing" / "stopped")
    latch.take(EstopCommand(stop=True, who="ann"))
    with pytest.raises(OSError):
        latch.keep()
    assert latch.is_set


def test_a_stop_that_was_only_half_written_down_is_forgotten_with_its_release(tmp_path: Path) -> None:
    folder = tmp_path / "links"
    path = folder / "stopped"
    latch = EstopLatch(path)
    latch.take(EstopCommand(stop=True, who="ann"))
    with pytest.raises(OSError):
        latch.keep()  # the folder is not there
    folder.mkdir()
    path.write_text("what half a write leaves\n")
    assert not latch.is_kept
    latch.take(EstopCommand(stop=False, who="ann"))
    assert not latch.is_kept  # the release has to be written down, whatever became of the stop
    latch.keep()
    assert not path.exists()
    assert latch.is_kept


def test_a_release_of_what_was_before_another_stop_is_none() -> None:
    latch = EstopLatch()
    latch.take(EstopCommand(stop=True, who="ann"))
    seen = latch.stops
    latch.take(EstopCommand(stop=True, who="bob"))
    latch.take(EstopCommand(stop=False, who="ann", after=seen))
    assert latch.is_set
    latch.take(EstopCommand(stop=False, who="ann", after=latch.stops))
    assert not latch.is_set


def test_a_slow_disk_keeps_the_servo_loop_waiting_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stopped"
    latch = EstopLatch(path)
    fails, sync = threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        if not fails.is_set():
            fails.wait(20.0)
            raise OSError(5, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with closing(EstopLatchWriter(latch)) as keeper:
        latch.take(EstopCommand(stop=True, who="ann"))
        before_s = time.monotonic()
        keeper.look()
        assert time.monotonic() - before_s < 1.0
        assert not latch.is_kept
        wait_for(lambda: EstopLatch(path).is_set)  # a successor is stopped, though the reason is not on disk yet
        fails.set()
        wait_for(lambda: keeper.trouble)

        def kept() -> bool:
            keeper.look()
            return latch.is_kept

        wait_for(kept)
        assert path.read_text() == "stopped by ann\n"
        wait_for(lambda: not keeper.trouble)


def test_what_changed_last_is_written_down_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    latch = EstopLatch(path)
    keeper = EstopLatchWriter(latch)
    for stop in (True, False, True):
        latch.take(EstopCommand(stop=stop, who="ann"))
        keeper.look()
    keeper.close()
    assert EstopLatch(path).is_set
