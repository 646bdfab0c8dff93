"""Who may keep a robot from work, and who may let it."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.services.drain_state import Work
from floop_robot.spec.errors import StorageError


def test_each_alone_keeps_it_from_work(tmp_path: Path) -> None:
    work = Work(tmp_path)
    assert (work.pause, work.drained, work.idle, work.estop) == ("", False, True, False)
    work.obey(True)
    assert (work.drained, work.pause) == (True, "drained by the fleet manager (/fleet/drain_robot)")
    work.drain(True)
    work.obey(False)
    assert (work.drained, work.pause) == (True, "drained here (drain)")
    work.set_hold("on hold")
    work.drain(False)  # whoever says so wants it to work
    assert (work.drained, work.pause) == (False, "")
    work.set_hold("on hold")
    assert (work.drained, work.pause) == (False, "on hold")  # at rest, but it was not taken out of work


def test_the_word_of_people_outlives_the_process(tmp_path: Path) -> None:
    Work(tmp_path).drain(True)
    again = Work(tmp_path)
    assert (again.drained, again.by_people, again.by_fleet) == (True, True, False)
    again.drain(False)
    again.drain(False)
    assert not Work(tmp_path).drained


def test_a_drain_that_the_disk_does_not_keep_holds_all_the_same(tmp_path: Path) -> None:
    work = Work(tmp_path)
    (tmp_path / "drained_here").mkdir()
    with pytest.raises(StorageError, match="drained_here"):
        work.drain(True)
    assert work.drained
    with pytest.raises(StorageError, match="remove it by hand"):
        work.drain(False)
    assert work.drained  # it would come back with the next process
