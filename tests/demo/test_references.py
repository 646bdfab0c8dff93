"""Figures of the best known policies, as the report reads them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from floop_envs.shifts import get_shift
from floop_robot.demo import references
from floop_robot.demo.references import Reference, best_known, read_references
from floop_robot.spec.tasks import get_task

FOUND = Reference(
    task="floop/Pick-v0", shift="small", success=0.975, known_success=0.99, episodes=500, rows=1000, sha256="ab"
)


def test_figures_of_the_checkout_speak_of_tasks_and_shifts_that_exist() -> None:
    found = read_references()
    assert {reference.shift for reference in found} >= {"new-object", "small"}
    for reference in found:
        get_task(reference.task)
        get_shift(reference.shift)
        assert 0.0 <= reference.success <= 1.0 and reference.episodes >= 200


def test_the_best_known_success_is_that_of_task_and_shift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "share_dir", lambda: tmp_path)
    assert best_known("floop/Pick-v0", "small") is None, "installed without benchmarks"
    (tmp_path / "benchmarks").mkdir()
    references.references_file().write_bytes(msgspec.json.encode([FOUND]))
    assert best_known("floop/Pick-v0", "small") == 0.975
    assert best_known("floop/Pick-v0", "new-object") is None
    assert best_known("floop/PickPlace-v0", "small") is None
