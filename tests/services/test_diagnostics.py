"""What processes report of their health, from unconfigured to stopped."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from floop_envs.expert import Expert
from floop_robot.robot.effort_watch import EffortWatch
from floop_robot.robot.estop_interface import EstopInterface
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.loop_interface import LoopInterface
from floop_robot.robot.rate_loop import RateStats, Timing
from floop_robot.robot.safety_loop import SafetyLink
from floop_robot.services.diagnostics import ERROR, OK, WARN, DiagnosticItem, rate_diagnostics
from floop_robot.services.policy import PolicyProcess
from floop_robot.services.policy_diagnostics import policy_diagnostics
from floop_robot.services.safety import SafetyProcess
from floop_robot.spec.robot_model import load_robot
from tests.support.estop_commands import stop
from tests.support.still_arm import Sink, Source, StillArm, arguments
from tests.support.waiting import wait_for

SHORT = Timing(count=1000, p50_s=0.001, p99_s=0.002, max_s=0.003)
ON_TIME = RateStats(ticks=1000, missed_ticks=1, lateness=SHORT, busy=SHORT)


class Resets(msgspec.Struct):
    """Requests for another episode, and what became of them."""

    calls: int = 3
    answers: int = 2
    refusal: str = ""


def by_name(items: list[DiagnosticItem]) -> dict[str, DiagnosticItem]:
    return {item.name: item for item in items}


def test_a_loop_that_misses_one_tick_in_a_thousand_is_in_time_and_no_more() -> None:
    fine = rate_diagnostics("servo loop", 125.0, ON_TIME)
    late = rate_diagnostics("servo loop", 125.0, msgspec.structs.replace(ON_TIME, missed_ticks=2))
    assert (fine.level, fine.message, fine.values["late_p99_ms"]) == (OK, "125 Hz", "2.00")
    assert (late.level, late.message) == (WARN, "missed 2 of 1002 ticks")


def test_a_policy_node_that_is_not_configured_says_why() -> None:
    assert policy_diagnostics(None, Resets(), 0, "") == [DiagnosticItem("life cycle", OK, "unconfigured")]
    found = policy_diagnostics(None, Resets(), 0, "configure: no such robot")
    assert found == [DiagnosticItem("life cycle", ERROR, "configure: no such robot")]


def test_a_policy_process_reports_loop_policy_episodes_records_and_links(tmp_path: Path) -> None:
    arm, process = StillArm(), PolicyProcess(arguments(tmp_path))
    try:
        inactive = by_name(policy_diagnostics(process, Resets(), 0, ""))
        assert inactive.keys() == {"life cycle", "policy", "records"}
        assert inactive["policy"].message == "no policy has arrived"
        assert inactive["records"].message == "ingest is away; records wait here"
        process.policy_buffer.offer(1, Expert(process.rules.spec))
        process.start(arm.link, LoopInterface(False))
        wait_for(lambda: process.view.version == 1)
        active = by_name(policy_diagnostics(process, Resets(), 5, ""))
        assert active["policy"].message == "v1 acts"
        assert (active["links"].level, active["links"].values["safety_refused"]) == (OK, 5)
        assert active["episodes"].values["reset_calls"] == 3
        assert active["episodes"].values["ik_failures"] == 0
        arm.is_stopped = True
        wait_for(lambda: process.view.estop)
        assert by_name(policy_diagnostics(process, Resets(), 0, ""))["episodes"].level == WARN
        arm.is_silent = True
        wait_for(lambda: by_name(policy_diagnostics(process, Resets(), 0, ""))["links"].level == ERROR)
        assert by_name(policy_diagnostics(process, Resets(), 0, ""))["links"].message == "driver and safety silent"
    finally:
        process.stop()
        process.close(0.0)


def test_limits_of_efforts_that_the_driver_does_not_tell_are_a_warning(tmp_path: Path) -> None:
    link = SafetyLink(Source(StillArm().state), Source(lambda: None), Sink(lambda _: None), Sink(lambda _: None))
    estop = EstopInterface(EstopLatch(tmp_path / "latch"))
    with SafetyProcess(arguments(tmp_path), estop, link) as process:
        model = load_robot("panda")
        assert "joint efforts" not in by_name(list(process.diagnostics()))
        limits = msgspec.structs.replace(model.limits, effort_nm=(50.0,) * 7)
        watch = process.servo.core.efforts = EffortWatch(msgspec.structs.replace(model, limits=limits))
        for efforts, level, words in (
            ((), WARN, "tells no effort of panda_joint1, panda_joint2"),
            ((1.0,) * 6 + (math.nan,), WARN, "tells no effort of panda_joint7"),
            ((1.0,) * 7, OK, "watched"),
        ):
            state = StillArm().state()
            assert state is not None and not watch.excess(msgspec.structs.replace(state, effort_nm=efforts))
            item = by_name(list(process.diagnostics()))["joint efforts"]
            assert (item.level, words in item.message) == (level, True)


def test_safety_is_an_error_while_stopped(tmp_path: Path) -> None:
    estop = EstopInterface(EstopLatch(tmp_path / "stopped"))
    estop.submit(stop(why="a hand in the cell"))
    link = SafetyLink(Source(StillArm().state), Source(lambda: None), Sink(lambda _: None), Sink(lambda _: None))
    with SafetyProcess(arguments(tmp_path), estop, link) as process:
        assert process.diagnostics()[1].message == "starting"
        process.servo.tick(1.0)
        loop, safety, _ = process.diagnostics()
    assert (loop.name, loop.values["ticks"]) == ("servo loop", 0)
    assert (safety.level, safety.values["mode"]) == (ERROR, "estop")
    assert process.current_stats().interventions.total >= 0
