"""Ports of experiments."""

from __future__ import annotations

import socket

from floop_robot.services.supervision.ports import FIRST_PORT, LAST_PORT, reserved_base_port


def test_experiments_side_by_side_have_ports_of_their_own() -> None:
    with reserved_base_port() as first, reserved_base_port() as second:
        assert first != second
        assert all(FIRST_PORT <= port < LAST_PORT for port in (first, second))
        with socket.socket() as anybody:
            # A fleet of an earlier test may have left the port in TIME_WAIT.
            anybody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            anybody.bind(("127.0.0.1", first + 3))
            with reserved_base_port() as third:
                assert third not in (first, second)


def test_a_base_port_with_a_taken_port_is_left_out() -> None:
    with reserved_base_port() as base:
        pass
    with socket.socket() as anybody:
        anybody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        anybody.bind(("127.0.0.1", base + 6))
        anybody.listen()
        with reserved_base_port() as other:
            assert other != base
