"""Who runs in a run directory, and who may write its configuration."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from floop_robot.durable import locks
from floop_robot.durable.locks import RunLock, is_running, no_fleet_running
from floop_robot.spec.errors import ConfigError


def test_those_who_look_at_once_take_nobody_of_themselves_for_a_fleet(tmp_path: Path) -> None:
    RunLock(tmp_path).release()
    seen: list[bool] = []

    def look() -> None:
        seen.extend(is_running(tmp_path) for _ in range(200))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [False] * 400
    with no_fleet_running(tmp_path):
        assert not is_running(tmp_path)


def test_configurations_are_written_one_after_another_and_none_below_a_running_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, written = threading.Event(), threading.Event()
    take = locks._try_lock

    def watched(handle: int) -> bool:
        taken = take(handle)
        if not taken:
            refused.set()
        return taken

    def write() -> None:
        with no_fleet_running(tmp_path):
            written.set()

    monkeypatch.setattr(locks, "_WRITE_TIMEOUT_S", 20.0)
    monkeypatch.setattr(locks, "_try_lock", watched)
    with no_fleet_running(tmp_path):
        thread = threading.Thread(target=write)
        thread.start()
        assert refused.wait(20.0) and not written.is_set()
    thread.join()
    assert written.is_set()
    monkeypatch.setattr(locks, "_WRITE_TIMEOUT_S", 0.01)
    with (
        no_fleet_running(tmp_path),
        pytest.raises(ConfigError, match="somebody else writes"),
        no_fleet_running(tmp_path),
    ):
        pass
    lock = RunLock(tmp_path)
    with pytest.raises(ConfigError, match="belongs to a running fleet"), no_fleet_running(tmp_path):
        pass
    lock.release()
    with no_fleet_running(tmp_path):
        pass


def test_looking_takes_no_lock_and_does_not_wait_for_the_training_lock(tmp_path: Path) -> None:
    training = locks.ExclusiveLock(tmp_path / ".lock", "training folder", "wait")
    lock = RunLock(tmp_path)
    assert is_running(tmp_path)
    lock.release()
    assert not is_running(tmp_path)
    training.release()
