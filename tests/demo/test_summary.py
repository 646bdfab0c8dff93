"""The report: what counts as recovered, and where its figures come from."""

from __future__ import annotations

import msgspec
import pytest

from floop_robot.demo.evaluate import EvaluationResult
from floop_robot.demo.live_success import ObservedShift
from floop_robot.demo.loop_waits import PartWait
from floop_robot.demo.report import DemoReport, Rate
from floop_robot.demo.summary import RunData, summarize
from floop_robot.deploy import NoImprovement, TimeToImprovement
from floop_robot.deploy.deployment_monitor import Tally
from floop_robot.deploy.registry import History
from floop_robot.robot.rate_loop import RateStats, Timing
from floop_robot.services.safety import SafetyStats
from floop_robot.services.supervision.supervisor import Restart
from floop_robot.sim.sim_driver import DriverStats
from floop_robot.sim.sim_world import SimWorld
from floop_robot.spec.config import FloopConfig
from floop_robot.stream.journal_reader import JournalAudit
from tests.support.blank_struct import blank
from tests.support.sample_history import SHIFT, S, recovered_history, version
from tests.support.sample_snapshots import ROBOTS, fleet_status, robot_view, snapshot

CONFIG = FloopConfig(robots=2, run_dir="runs/x")
RECOVERED = EvaluationResult(
    shipped_old=Rate(98, 100), shipped_shifted=Rate(5, 100), final_old=Rate(96, 100), final_shifted=Rate(93, 100),
    known_lost=3, known_gained=1,
)  # fmt: skip
IMPROVEMENT = TimeToImprovement(
    fix_version=2, tti_s=25.0, tti_apply_s=12.5, stages_s={"lesson": 5.0, "apply": 7.5, "confirm": 12.5},
    episodes=Tally(30, 36), bound=0.6, lower_bound=0.61, robots=ROBOTS, first_failure_ns=105 * S,
)  # fmt: skip
WAITS = {"explorers": PartWait(0.2, 80.0), "learner": PartWait(0.5, 23.0), "gate": PartWait(0.3, 4.0)}
AUDIT = blank(JournalAudit, records=500, lost=2, damaged=1, doubled=3, transitions_by_source={"robot": 400})


def report(
    improvement: TimeToImprovement | NoImprovement = IMPROVEMENT,
    evaluated: EvaluationResult = RECOVERED,
    history: History | None = None,
    shift: ObservedShift = SHIFT,
    data: RunData | None = None,
    required: float = 0.0,
) -> DemoReport:
    data = data or RunData(snapshot(), AUDIT, (Restart("gate", -9, 1, 0.2), Restart("gate", -9, 2, 0.2)), [])
    history = history or recovered_history()
    return summarize(
        CONFIG,
        SimWorld("new-object", ("robot_2",)),
        required,
        shift,
        history,
        improvement,
        data,
        evaluated,
        WAITS,
        60.0,
    )


def test_a_run_that_recovered_says_which_version_did_it() -> None:
    found = report()
    assert found.recovered
    assert found.reason == "live success of v2 on shifted tasks is at least 60%"
    assert found.confirm_success == 0.6
    assert (found.success_before, found.success_dip, found.success_after) == (0.98, 0.05, 0.93)
    assert (found.old_success_after, found.known_lost, found.known_gained) == (0.96, 3, 1)
    assert (found.tti_s, found.tti_apply_s, sum(found.tti_stages_s.values())) == (25.0, 12.5, 25.0)
    assert found.shown_success_s.keys() == {"0.6", "0.7", "0.8", "0.9"}
    assert (found.fix_version, found.fix_episodes, found.final_version) == (2, Rate(30, 36), 2)


@pytest.mark.parametrize(("lost", "gained", "kept"), [(8, 0, True), (12, 0, False), (20, 8, True), (30, 10, False)])
def test_known_tasks_are_kept_unless_a_loss_of_more_than_a_point_is_shown(lost: int, gained: int, kept: bool) -> None:
    after = Rate(495 - lost + gained, 500)
    evaluated = msgspec.structs.replace(
        RECOVERED, shipped_old=Rate(495, 500), final_old=after, known_lost=lost, known_gained=gained
    )
    found = report(evaluated=evaluated)
    assert found.recovered is kept
    assert (found.known_loss_p >= 0.05) is kept
    if not kept:
        assert found.reason == (
            f"known tasks were forgotten: {lost} of 500 scenarios lost, {gained} gained; that is more than 1 point"
        )


def test_a_required_success_decides_only_where_it_is_asked_for() -> None:
    low = msgspec.structs.replace(RECOVERED, final_shifted=Rate(80, 100))
    assert report(evaluated=low).recovered
    assert report(required=0.93).recovered
    found = report(evaluated=low, required=0.95)
    assert not found.recovered
    assert found.reason == "the final policy succeeds at 80.0% of shifted tasks; --require asks for 95.0%"


def test_without_an_improvement_there_is_no_time_to_it() -> None:
    found = report(NoImprovement("no version's live success was confirmed"))
    assert not found.recovered
    assert found.reason.startswith("no version's live success was confirmed; the loop waited for the learner 50%")
    assert found.tti_s is None and found.tti_apply_s is None and found.fix_version is None
    assert (found.tti_stages_s, found.fix_episodes) == ({}, Rate(0, 0))
    assert found.confirm_success == CONFIG.deploy.confirm_success
    assert found.live.shifted_on_fix == Rate(0, 0)


def test_live_rates_are_of_known_and_shifted_episodes_by_version() -> None:
    live = report().live
    assert live.before_shift == Rate(18, 18)
    assert live.shifted_on_shipped == Rate(0, 16)
    assert live.shifted_on_fix == live.shifted_on_final == Rate(36, 44)


def test_the_version_before_the_shift_is_the_last_one_published_until_then() -> None:
    history = msgspec.structs.replace(recovered_history(), versions=(version(1, 1.0), version(2, 99.0)))
    assert report(history=history).live.shifted_on_shipped == Rate(36, 44)


def test_apply_latency_counts_versions_of_the_gate_that_reached_every_robot() -> None:
    assert report().apply_latency_p99_s == pytest.approx(2.5)
    history = recovered_history()
    on_one_robot = msgspec.structs.replace(history, receipts=history.receipts[:1])
    assert report(history=on_one_robot).apply_latency_p99_s is None


def test_figures_of_all_starts_of_a_process_count() -> None:
    rate = RateStats(100, 3, Timing(100, 0.001, 0.002, 0.004), Timing(100, 0.0, 0.0, 0.0))
    slow = msgspec.structs.replace(rate, lateness=Timing(100, 0.001, 0.005, 0.01))
    robot = msgspec.structs.replace(
        robot_view("robot_1", acked=7),
        safety=[blank(SafetyStats, rate=rate), blank(SafetyStats, rate=slow)],
        driver=[blank(DriverStats, simulated_s=s, elapsed_s=10.0) for s in (10.0, 9.0)],
    )
    silent = msgspec.structs.replace(robot_view("robot_2"), driver=[])
    data = RunData(snapshot(robots=(robot, silent)), AUDIT, (), [rate])
    found = report(data=data)
    assert (found.ticks, found.missed_ticks) == (200, 6)
    assert found.tick_lateness_max_s == 0.01
    assert found.real_time_factor_by_robot == {"robot_1": pytest.approx(0.95), "robot_2": 0.0}
    assert (found.bare_timer_missed_ticks, found.bare_timer_lateness_max_s) == (3, 0.004)
    assert (found.rows_acked, found.rows_in_journal, found.rows_lost, found.rows_doubled) == (12, 500, 3, 3)


def test_counts_of_gate_restarts_and_rows_are_taken_over() -> None:
    data = RunData(snapshot(fleet=fleet_status(accepted=2, rejected=3, inconclusive=1)), AUDIT, (), [])
    found = report(data=data)
    assert (found.gate_accepted, found.gate_rejected, found.gate_inconclusive) == (2, 3, 1)
    assert report().restarts == {"gate": 2}
    nobody = report(data=RunData(snapshot(fleet=None, learner=None), AUDIT, (), []))
    assert (nobody.gate_accepted, nobody.loop_latency_p99_s) == (0, None)
