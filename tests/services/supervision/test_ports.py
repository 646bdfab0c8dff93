"""Ports of experiments, and who runs in a run directory."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from pathlib import Path

import pytest
from floop_robot.durable.run_lock import RunLock, is_running, no_fleet_running

from floop_robot.durable import run_lock
from floop_robot.durable.locks import RunLock, is_running, no_fleet_running
from floop_robot.services.supervision.ports import FIRST_PORT, LAST_PORT, reserved_base_port
from floop_robot.spec.errors import ConfigError


def test_experiments_side_by_side_have_ports_of_their_own() -> None:
    with reserved_base_port() as first, reserved_base_port() as second:
        assert first != second
        assert all(FIRST_PORT <= port < LAST_PORT for port in (first, second))
        with socket.socket() as anybody:
            anybody.bind(("127.0.0.1", first + 3))
            with reserved_base_port() as third:
                assert third not in (first, second)


def test_a_base_port_with_a_taken_port_is_left_out() -> None:
    with reserved_base_port() as base:
        pass
    with socket.socket() as anybody:
        anybody.bind(("127.0.0.1", base + 6))
        anybody.listen()
        with reserved_base_port() as other:
            assert other != base


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
    take = run_lock._try_lock

    def watched(handle: int) -> bool:
        taken = take(handle)
        if not taken:
            refused.set()
        return taken

    def write() -> None:
        with no_fleet_running(tmp_path):
            written.set()

    monkeypatch.setattr(run_lock, "_WRITE_TIMEOUT_S", 20.0)
    monkeypatch.setattr(run_lock, "_try_lock", watched)
    with no_fleet_running(tmp_path):
        thread = threading.Thread(target=write)
        thread.start()
        assert refused.wait(20.0) and not written.is_set()
    thread.join()
    assert written.is_set()
    monkeypatch.setattr(run_lock, "_WRITE_TIMEOUT_S", 0.01)
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


def test_to_look_waits_for_nobody_and_keeps_nobody_from_the_folder(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # as `floop train` has its folder
    lock = RunLock(tmp_path)
    assert is_running(tmp_path)
    lock.release()
    assert not is_running(tmp_path)
    os.close(folder)
