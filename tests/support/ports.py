"""Ports for fleets under test."""

from __future__ import annotations

import random
import socket

FIRST, LAST, COUNT = 10_000, 17_500, 7
"""Below the ports that Linux hands out by itself: one of those may be taken by anybody's connection while a process of
the fleet is being started again."""


def free_base_port() -> int:
    """The first of seven ports that are free now, at random: tests that run side by side seldom choose alike."""
    draw = random.SystemRandom()
    while True:
        base = draw.randrange(FIRST, LAST, COUNT)
        if all(_is_free(base + offset) for offset in range(COUNT)):
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
