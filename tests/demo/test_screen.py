"""What people see of a demo: lines, the live screen and the summary."""

from __future__ import annotations

import io
import re

import msgspec
import pytest
from rich.console import Console

from floop_robot.demo.live_success import LiveSuccess
from floop_robot.demo.loop_waits import PartWait
from floop_robot.demo.report import DemoReport, Rate
from floop_robot.demo.run import CONFIRMED_PHASE, IMPROVED_PHASE, SHIFTED_PHASE, DemoProgress, silent_processes
from floop_robot.demo.screen import LINE_EVERY_S, LINE_WIDTH, LineScreen, LiveScreen, last_line, summary
from floop_robot.demo.snapshot import RobotView
from floop_robot.deploy.deployment_monitor import MonitorReport
from floop_robot.learn.learner import LearnerStatus
from floop_robot.services.gate import GateStats
from tests.support.blank_struct import blank
from tests.support.sample_history import SHIFT, recovered_history
from tests.support.sample_snapshots import fleet_status, robot_view, snapshot

LIVE = LiveSuccess.of(recovered_history(), SHIFT)


def progress(phase: str = "shifted tasks", elapsed_s: float = 30.0, **changes: object) -> DemoProgress:
    made = DemoProgress(phase=phase, elapsed_s=elapsed_s, since_shift_s=12.0, snapshot=snapshot(), live=LIVE)
    return msgspec.structs.replace(made, **changes)


def drawn(*shown: DemoProgress) -> str:
    out = io.StringIO()
    with LiveScreen(230.0, Console(file=out, force_terminal=True, width=160)) as screen:
        for one in shown:
            screen.show(one)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


def test_a_line_tells_success_production_and_learning(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = fleet_status(accepted=1, rejected=2, inconclusive=3)
    with LineScreen() as screen:
        screen.show(progress(snapshot=snapshot(fleet=fleet, learner=blank(LearnerStatus, gradient_steps=77))))
    [line] = capsys.readouterr().err.splitlines()
    assert line == "  30.0 s  shifted tasks; v2 succeeds at 36/44 changed tasks; 1 of 6 new policies accepted"


def test_a_line_tells_that_a_candidate_is_on_trial_beside_all_else(capsys: pytest.CaptureFixture[str]) -> None:
    state = snapshot(fleet=fleet_status(accepted=12, rejected=2, inconclusive=12), gate=blank(GateStats, busy=True))
    LineScreen().show(progress(SHIFTED_PHASE, snapshot=state))
    LineScreen().show(
        progress(SHIFTED_PHASE, snapshot=snapshot(fleet=fleet_status(), gate=blank(GateStats, busy=True)))
    )
    many, first = capsys.readouterr().err.splitlines()
    assert many.endswith("v2 succeeds at 36/44 changed tasks; 12 of 26 accepted, 1 on trial")
    assert first.endswith("v2 succeeds at 36/44 changed tasks; a candidate is on trial")


def test_the_screen_tells_what_the_loop_waits_for() -> None:
    waits = {"explorers": PartWait(0.2, 80.0), "learner": PartWait(0.5, 23.0), "gate": PartWait(0.3, 4.0)}
    told = (
        "the loop waited for the learner 50% (23 gradient steps a second), the gate 30% (4 episodes a second), "
        "the explorers 20% (80 rows a second)"
    )
    assert told in drawn(progress(waits=waits))


def test_no_line_is_longer_than_120_characters(capsys: pytest.CaptureFixture[str]) -> None:
    waits = {"explorers": PartWait(0.2, 80.0), "learner": PartWait(0.5, 23.0), "gate": PartWait(0.3, 4.0)}
    fleet = fleet_status(accepted=100, rejected=2000, inconclusive=3000)
    starting = "starting; waiting for " + ", ".join(f"robot_{i}" for i in range(30))
    for phase in (starting, SHIFTED_PHASE, IMPROVED_PHASE, CONFIRMED_PHASE):
        LineScreen().show(progress(phase, 12345.6, snapshot=snapshot(fleet=fleet), waits=waits, left_s=240.0))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(len(line) <= LINE_WIDTH for line in lines)
    assert all("v2 succeeds at 36/44 changed tasks" in line for line in lines[1:])


def test_a_line_tells_how_long_a_phase_may_still_last(capsys: pytest.CaptureFixture[str]) -> None:
    LineScreen().show(progress(CONFIRMED_PHASE, left_s=93.4))
    assert "waiting for better versions, 93 s at most; v2" in capsys.readouterr().err
    assert "waiting for better versions, 93 s at most   30 s" in drawn(progress(CONFIRMED_PHASE, left_s=93.4))


def test_lines_come_every_few_seconds_and_with_each_phase(capsys: pytest.CaptureFixture[str]) -> None:
    screen = LineScreen()
    for phase, elapsed_s in (("known tasks", 1.0), ("known tasks", 1.0 + LINE_EVERY_S / 2),
                             ("known tasks", 1.0 + LINE_EVERY_S), ("shifted tasks", 1.5 + LINE_EVERY_S)):  # fmt: skip
        screen.show(progress(phase, elapsed_s, snapshot=None, live=None))
    assert [line.split("  ")[-1] for line in capsys.readouterr().err.splitlines()] == [
        "known tasks", "known tasks", "shifted tasks",
    ]  # fmt: skip


def test_a_start_names_who_is_waited_for() -> None:
    assert silent_processes(snapshot()) == []
    silent = RobotView(name="robot_2", policy=[], safety=[], driver=[])
    late = snapshot(fleet=None, learner=None, robots=(robot_view("robot_1"), silent))
    assert silent_processes(late) == ["the fleet manager", "the learner", "robot_2"]


def test_before_any_process_reports_the_line_is_the_phase_alone(capsys: pytest.CaptureFixture[str]) -> None:
    empty = snapshot(fleet=None, robots=(), explorers=(), learner=None, gate=None)
    LineScreen().show(progress("known tasks", 1.0, snapshot=empty, live=None))
    LineScreen().show(progress("measuring", 90.0, done=20, total=96))
    first, second = capsys.readouterr().err.splitlines()
    assert first.strip() == "1.0 s  known tasks"
    assert second.strip() == "90.0 s  measuring: 20 of up to 96 scenarios"


def test_the_screen_shows_robots_learner_gate_and_deployment() -> None:
    watch = blank(MonitorReport, version=2, reason="3 of 4 episodes succeeded")
    gate = blank(
        GateStats,
        busy=True,
        episodes=42,
        verdict_s=(1.25,),
        last_decision="accepted",
        last_reason="better on failing tasks",
    )
    text = drawn(progress(snapshot=snapshot(fleet=fleet_status(watch=watch), gate=gate)))
    for words in ("the world shifted 12 s ago", "robot_1", "v2", "rows: 0 of known tasks, 0 of new ones",
                  "in production v2", "one is on trial; the gate has run 42 episodes so far",
                  "last verdict: accepted in 1.2 s", "monitoring v2",
                  "gate and deployment"):  # fmt: skip
        assert words in text
    assert "●" in text and "○" in text


def test_the_screen_waits_for_processes_that_have_not_started() -> None:
    robots = tuple(msgspec.structs.replace(r, policy=[], safety=[]) for r in snapshot().robots)
    starting = snapshot(fleet=None, learner=None, gate=None, robots=robots)
    text = drawn(
        progress("known tasks", since_shift_s=None, snapshot=None, live=None),
        progress("known tasks", since_shift_s=None, snapshot=starting, live=None),
    )
    assert text.count("starting …") >= 2
    assert "the world shifted" not in text


def test_the_screen_counts_the_scenarios_of_the_final_evaluation() -> None:
    text = drawn(progress("measuring", done=40, total=96))
    assert "measuring shipped and final policy: 40 of up to 96 scenarios" in text
    assert "learner" not in text


def summary_text(report: DemoReport) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(summary(report))
    return out.getvalue()


def test_the_summary_says_success_before_dip_and_after() -> None:
    report = blank(
        DemoReport, recovered=True, shift="new-object", success_before=0.98, success_dip=0.05, success_after=0.93,
        tti_s=25.0, tti_apply_s=12.5, tti_stages_s={"improve": 25.0}, fix_episodes=Rate(30, 36), fix_lower_bound=0.61,
        loop_latency_p99_s=0.5, shown_success_s={"0.6": 25.0, "0.8": 41.5, "0.9": None}, confirm_success=0.8,
    )  # fmt: skip
    text = summary_text(report)
    for row in (r"recovered", r"success before \(known tasks, shipped policy\) +│ 98.0%",
                r"success dip \(new-object, shipped policy\) +│ 5.0%",
                r"success after \(new-object, final policy\) +│ 93.0%",
                r"improvement confirmed \(TTI\) +│ 25.0 s \(learned 25.0\)", r"│ 30/36 episodes: at least 61%",
                r"success is surely 80% or more +│ 41.5 s", r"surely 90% or more +│ not shown"):  # fmt: skip
        assert re.search(row, text), row


def test_the_summary_does_not_call_a_version_confirmed_that_showed_60_percent_only() -> None:
    report = blank(
        DemoReport, recovered=True, tti_s=25.0, tti_stages_s={"improve": 20.0, "confirm": 5.0}, confirm_success=0.6,
        fix_episodes=Rate(30, 36), fix_lower_bound=0.61,
    )  # fmt: skip
    text = summary_text(report)
    for row in (r"success with it, at least 60% shown \(TTI\) +│ 25.0 s \(learned 20.0, shown by their success 5.0\)",
                r"robots' success with it \(not confirmed: 80%\) +│ 30/36 episodes: at least 61%"):  # fmt: skip
        assert re.search(row, text), row
    assert "confirmed" not in text.replace("not confirmed", "")


def test_the_summary_names_the_best_known_policy_where_there_is_one() -> None:
    assert "93.0% (best known policy for these tasks: 97.5%)" in summary_text(
        blank(DemoReport, success_after=0.93, best_known=0.975)
    )
    assert "best known" not in summary_text(blank(DemoReport, success_after=0.93))


def test_the_summary_of_a_run_that_did_not_recover_has_its_reason_and_no_times() -> None:
    text = summary_text(blank(DemoReport, recovered=False, reason="too short", shift="small", confirm_success=0.8))
    assert "not recovered: too short" in text
    missed = blank(DemoReport, recovered=False, reason="too short")
    assert last_line(missed, 3) == "Not recovered: too short. Exit status 3."


def test_the_last_line_says_in_one_sentence_what_came_of_it() -> None:
    report = blank(
        DemoReport, recovered=True, shift="new-object", success_dip=0.04, success_after=0.975, tti_apply_s=65.2
    )
    assert last_line(report, 0) == (
        "Recovered: 4% → 97.5% success on the changed tasks (new-object), on all robots 65 s after the first failure. "
        "Exit status 0."
    )


def test_the_summary_of_a_run_without_improvement_has_no_times() -> None:
    text = summary_text(blank(DemoReport, recovered=False, reason="too short", shift="small", confirm_success=0.8))
    assert re.search(r"improvement confirmed \(TTI\) +│ – ", text)
