"""Who may keep a robot from drain_state, and who may let it."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.robot.drain_state import DrainState
from floop_robot.spec.errors import StorageError


def test_each_drain_alone_prevents_episodes(tmp_path: Path) -> None:
    drain_state = DrainState(tmp_path)
    assert (drain_state.pause_reason, drain_state.drained, drain_state.idle, drain_state.estop) == (
        "",
        False,
        True,
        False,
    )
    drain_state.set_fleet_drain(True)
    assert (drain_state.drained, drain_state.pause_reason) == (
        True,
        "drained by the fleet manager (/fleet/drain_robot)",
    )
    drain_state.set_local_drain(True)
    drain_state.set_fleet_drain(False)
    assert (drain_state.drained, drain_state.pause_reason) == (True, "drained here (drain)")
    drain_state.set_hold("on hold")
    drain_state.set_local_drain(False)  # whoever says so wants it to drain_state
    assert (drain_state.drained, drain_state.pause_reason) == (False, "")
    drain_state.set_hold("on hold")
    assert (drain_state.drained, drain_state.pause_reason) == (
        False,
        "on hold",
    )  # at rest, but it was not taken out of drain_state


def test_a_local_drain_outlives_the_process(tmp_path: Path) -> None:
    DrainState(tmp_path).set_local_drain(True)
    again = DrainState(tmp_path)
    assert (again.drained, again.by_local_operator, again.by_fleet_manager) == (True, True, False)
    again.set_local_drain(False)
    again.set_local_drain(False)
    assert not DrainState(tmp_path).drained


def test_a_drain_holds_although_the_disk_fails(tmp_path: Path) -> None:
    drain_state = DrainState(tmp_path)
    (tmp_path / "drained_here").mkdir()
    with pytest.raises(StorageError, match="drained_here"):
        drain_state.set_local_drain(True)
    assert drain_state.drained
    with pytest.raises(StorageError, match="remove it by hand"):
        drain_state.set_local_drain(False)
    assert drain_state.drained  # it would come back with the next process
