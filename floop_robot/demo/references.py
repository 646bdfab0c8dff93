"""References: the best success known for each shift. Only the report reads them (see `benchmarks/references.py`)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from floop_robot.spec.resources import share_dir


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Success of a policy that was trained offline, long, and with knowledge of the shift."""

    task: str
    shift: str
    success: float
    """On shifted tasks, in worlds like the robots'."""
    known_success: float
    episodes: int
    """Scenarios of the measurement."""
    rows: int
    """Transitions that it was trained on, beside those of a fleet."""
    sha256: str
    """Of its weights, which lie outside package and registry."""


def references_file() -> Path:
    """Where the figures lie: beside the benchmarks, in a checkout only."""
    return share_dir() / "benchmarks" / "references.json"


def read_references() -> list[Reference]:
    """All figures; none where floop is installed without its source."""
    path = references_file()
    return msgspec.json.decode(path.read_bytes(), type=list[Reference]) if path.is_file() else []


def best_known(task: str, shift: str) -> float | None:
    """The best success known for a shift; None where nobody has trained a reference."""
    return next((r.success for r in read_references() if (r.task, r.shift) == (task, shift)), None)
