"""Ports of experiments, and who runs in a run directory."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from floop_robot.processes.ports import FIRST, LAST, reserved_base_port
from floop_robot.processes.run_hold import RunHold, is_running, nobody_running


def test_experiments_side_by_side_have_ports_of_their_own() -> None:
    with reserved_base_port() as first, reserved_base_port() as second:
        assert first != second
        assert all(FIRST <= port < LAST for port in (first, second))
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
    RunHold(tmp_path).release()
    seen: list[bool] = []

    def look() -> None:
        seen.extend(is_running(tmp_path) for _ in range(200))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [False] * 400
    with nobody_running(tmp_path):
        pass
