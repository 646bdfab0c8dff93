"""What the loop waits for."""

from __future__ import annotations

from floop_robot.demo.loop_waits import LoopWaits, waits_line
from floop_robot.demo.snapshot import ExplorerView, Snapshot
from floop_robot.learn.status import LearnerState, LearnerStatus
from floop_robot.services.explorer import ExplorerStats
from floop_robot.services.gate import GateStats
from tests.support.blank_struct import blank
from tests.support.sample_snapshots import snapshot


def look(state: LearnerState, *, busy: bool = False, rows: int = 0, steps: int = 0, episodes: int = 0) -> Snapshot:
    return snapshot(
        explorers=(ExplorerView("explorer_1", [blank(ExplorerStats, transitions=rows)]),),
        learner=blank(LearnerStatus, state=state, gradient_steps=steps),
        gate=blank(GateStats, busy=busy, episodes=episodes),
    )


def test_a_fleet_that_was_not_looked_at_waited_for_nothing() -> None:
    assert LoopWaits().parts == {}
    assert waits_line({}) == ""


def test_a_trial_counts_for_the_gate_and_used_up_rows_for_the_explorers() -> None:
    waits = LoopWaits()
    waits.note(10.0, look(LearnerState.LEARNING, rows=100, steps=1000, episodes=10))
    waits.note(11.0, look(LearnerState.LEARNING))
    waits.note(12.0, look(LearnerState.WAITING))
    waits.note(20.0, look(LearnerState.WAITING, busy=True, rows=900, steps=1230, episodes=50))
    parts = waits.parts
    assert {name: part.share for name, part in parts.items()} == {"explorers": 0.25, "learner": 0.5, "gate": 0.25}
    assert {name: part.per_s for name, part in parts.items()} == {"explorers": 80.0, "learner": 23.0, "gate": 4.0}


def test_a_restarted_process_has_the_pace_of_its_new_start() -> None:
    waits = LoopWaits()
    waits.note(0.0, look(LearnerState.LEARNING, episodes=500))
    waits.note(10.0, look(LearnerState.LEARNING, episodes=20))
    assert waits.parts["gate"].per_s == 2.0


def test_a_learner_that_is_away_is_waited_for() -> None:
    waits = LoopWaits()
    waits.note(0.0, snapshot(learner=None, gate=None))
    assert waits.parts["learner"].share == 1.0
