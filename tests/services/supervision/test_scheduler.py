"""Which process goes first, and that its session gets the nice value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from floop_robot.fit.fitter import FitterCounts
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.services.explorer import ExplorerStats
from floop_robot.services.gate import GateStats
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.scheduler import (
    BESIDE,
    FIRST,
    FIRST_SUCCESSES,
    LAST,
    NICE,
    SECOND,
    LoopPhase,
    Scheduler,
    phase_of,
)
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.services.supervision.supervisor import Supervisor
from tests.support.blank_struct import blank
from tests.support.waiting import wait_for


@pytest.mark.parametrize(
    ("failing", "on_trial", "successes", "phase"),
    [
        ((), True, ({"basket": 3},), LoopPhase.CALM),
        (("basket",), False, ({},), LoopPhase.EXPLORE),
        (("basket",), True, ({"basket": FIRST_SUCCESSES - 1},), LoopPhase.EXPLORE),
        (("basket",), False, ({"basket": FIRST_SUCCESSES},), LoopPhase.LEARN),
        (("basket",), True, ({"basket": 20}, {"basket": 10}), LoopPhase.JUDGE),
        (("basket", "box"), True, ({"basket": 100},), LoopPhase.EXPLORE),
        (("basket",), False, (), LoopPhase.LEARN),  # without explorers only robots bring successes
    ],
)
def test_the_phase_is_what_the_loop_waits_for(
    failing: tuple[str, ...], on_trial: bool, successes: tuple[dict[str, int], ...], phase: LoopPhase
) -> None:
    assert phase_of(failing, on_trial, successes, awaits_fit=False) is phase
    fit = LoopPhase.FIT if failing else LoopPhase.CALM
    assert phase_of(failing, on_trial, successes, awaits_fit=True) is fit


def test_whoever_the_loop_waits_for_has_the_lowest_value_and_so_has_the_fitter() -> None:
    first = {phase: {part for part, nice in values.items() if nice == FIRST} for phase, values in NICE.items()}
    assert first == {
        LoopPhase.CALM: set(),
        LoopPhase.FIT: {"fitter"},
        LoopPhase.EXPLORE: {"explorer", "fitter"},
        LoopPhase.LEARN: {"learner", "fitter"},
        LoopPhase.JUDGE: {"gate", "fitter"},
    }
    assert 0 <= FIRST < BESIDE < SECOND < LAST <= 19


def report(
    run_dir: Path, successes: int, *, failing: bool = True, busy: bool = False, awaits_fit: bool = False
) -> None:
    """What gate, explorer and fitter write into their stats files."""
    StatsFile[FitterCounts](run_dir, "fitter").write(FitterCounts(awaited=awaits_fit), force=True)
    targets = TargetTasks(("basket",)) if failing else TargetTasks()
    StatsFile[GateStats](run_dir, "gate").write(blank(GateStats, busy=busy, target_tasks=targets), force=True)
    stats = blank(ExplorerStats, target_successes={"basket": successes})
    StatsFile[ExplorerStats](run_dir, "explorer_1").write(stats, force=True)


def test_the_phase_is_read_from_the_stats_of_gate_explorers_and_fitter(tmp_path: Path) -> None:
    scheduler = Scheduler(tmp_path, ("explorer_1",))
    assert scheduler.phase() is LoopPhase.CALM
    report(tmp_path, 0)
    assert scheduler.phase() is LoopPhase.EXPLORE
    report(tmp_path, 0, awaits_fit=True)
    assert scheduler.phase() is LoopPhase.FIT
    report(tmp_path, FIRST_SUCCESSES, busy=True)
    assert scheduler.phase() is LoopPhase.JUDGE
    report(tmp_path, 0, failing=False)
    assert scheduler.phase() is LoopPhase.CALM


@pytest.mark.parametrize("left", [b"", b"\x81\xa4busy\xa2no", b"\xc1"])
def test_figures_that_cannot_be_read_leave_the_fleet_supervised(tmp_path: Path, left: bytes) -> None:
    scheduler = Scheduler(tmp_path, ("explorer_1",))
    report(tmp_path, 0)
    (tmp_path / "stats" / "gate~1.stats").write_bytes(left)
    assert scheduler.phase() is LoopPhase.CALM


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the kernel has no autogroups")
def test_sessions_get_the_nice_values_of_the_phase_and_their_own_ones_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "idler").mkdir()
    (tmp_path / "idler" / "__init__.py").touch()
    (tmp_path / "idler" / "main.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    own = {"gate": 0, "learner": 5, "explorer_1": 5, "ingest": 0}
    specs = [ProcessSpec(name=name, module="idler.main", arguments=(), nice=nice) for name, nice in own.items()]

    def nice_values() -> dict[str, int]:
        found = {name: Path(f"/proc/{fleet.pid(name)}/autogroup") for name in own}
        return {name: int(path.read_text().split()[-1]) - os.nice(0) for name, path in found.items()}

    with Supervisor(specs, tmp_path) as fleet:
        wait_for(lambda: nice_values() == own)
        report(tmp_path, 0)
        wait_for(lambda: nice_values() == {"gate": BESIDE, "learner": SECOND, "explorer_1": FIRST, "ingest": 0})
        report(tmp_path, FIRST_SUCCESSES)
        wait_for(lambda: nice_values() == {"gate": LAST, "learner": FIRST, "explorer_1": SECOND, "ingest": 0})
        report(tmp_path, FIRST_SUCCESSES, busy=True)
        wait_for(lambda: nice_values() == {"gate": FIRST, "learner": BESIDE, "explorer_1": SECOND, "ingest": 0})
        report(tmp_path, FIRST_SUCCESSES, failing=False)
        wait_for(lambda: nice_values() == own)
