"""What holds for all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A shell without job control has what it starts in the background ignore SIGINT, children included: Ctrl-C, which many
# tests send to processes of theirs, would do nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG_FIRST = ("demo", "ros", "services", "cli", "benchmarks", "train")
"""Folders whose files take long: in the end short ones fill both workers, and none waits for the other's last file."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; `make test` has pytest-xdist keep this order."""
    root = Path(__file__).parent
    rank = {folder: i for i, folder in enumerate(LONG_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(root).parts[0], len(rank)))
