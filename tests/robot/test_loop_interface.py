"""What other threads ask of a running policy loop, with everything real but time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from floop_envs.expert import Expert
from floop_envs.scenarios import TrainingScenarios
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.loop_interface import EndRequest, EpisodeReport, LoopInterface, StartRequest
from floop_robot.spec.records import OutcomeCode
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.tasks import get_task
from tests.support.control_loop_rig import TICKS_PER_STEP, Rig
from tests.support.estop_commands import stop

TASK = "floop/Pick-v0"
RULES = get_task(TASK)
MANY = 4000


@pytest.fixture
def changes() -> list[str]:
    return []


@pytest.fixture
def rig(panda: RobotModel, changes: list[str]) -> Iterator[Rig]:
    rig = make(panda, auto_start=True, changes=changes)
    yield rig
    rig.world.close()


@pytest.fixture
def on_request(panda: RobotModel, changes: list[str]) -> Iterator[Rig]:
    rig = make(panda, auto_start=False, changes=changes)
    yield rig
    rig.world.close()


def make(model: RobotModel, *, auto_start: bool, changes: list[str]) -> Rig:
    source, rng = TrainingScenarios(TASK), np.random.default_rng(0)
    rig = Rig(model, RULES, [source.sample(rng) for _ in range(4)], Expert(RULES.spec))
    rig.policy.interface = LoopInterface(auto_start, lambda: changes.append(rig.policy.interface.view.state))
    return rig


def run_until(rig: Rig, condition: Callable[[], object]) -> None:
    for _ in range(MANY):
        if condition():
            return
        rig.run(1)
    raise AssertionError("it did not happen")


def steps(rig: Rig, count: int) -> None:
    run_until(rig, lambda: rig.policy.interface.view.steps >= count)


def reports(rig: Rig) -> list[EpisodeReport]:
    found = []
    while (report := rig.policy.interface.take_report()) is not None:
        found.append(report)
    return found


@pytest.mark.parametrize("outcome", list(OutcomeCode))
def test_an_episode_ends_as_requested_and_the_next_begins(rig: Rig, outcome: OutcomeCode) -> None:
    steps(rig, 5)
    rig.policy.interface.request_end(EndRequest(episode=1, outcome=outcome, why="ann saw it"))
    rig.run(TICKS_PER_STEP)
    (report,) = reports(rig)
    assert (report.end.episode, report.end.outcome, report.why) == (1, outcome, "ann saw it")
    assert report.end == rig.sink.ends[0]
    assert report.end.steps == len(rig.sink.transitions) >= 5
    assert [e.detail for e in rig.sink.events if e.name == "episode_ended"] == [f"1 {outcome.name.lower()}: ann saw it"]
    run_until(rig, lambda: rig.policy.interface.view.episode == 2 and rig.policy.interface.view.steps > 0)


def test_an_end_request_for_another_episode_ends_nothing(rig: Rig) -> None:
    steps(rig, 3)
    rig.policy.interface.request_end(EndRequest(episode=2, outcome=OutcomeCode.ABORTED, why="too early"))
    run_until(rig, lambda: rig.sink.ends)
    assert rig.sink.ends[0].outcome is OutcomeCode.SUCCESS
    steps(rig, 5)
    assert rig.policy.interface.view.episode == 2  # it was not kept for later either
    assert len(rig.sink.ends) == 1


def test_an_end_request_while_nothing_runs_is_dropped(on_request: Rig) -> None:
    run_until(on_request, lambda: on_request.policy.interface.view.state is EpisodeState.WAITING)
    on_request.policy.interface.request_end(EndRequest(episode=1, outcome=OutcomeCode.ABORTED, why="nothing runs"))
    on_request.run(2 * TICKS_PER_STEP)
    on_request.policy.interface.request_start(StartRequest())
    run_until(on_request, lambda: on_request.sink.ends)
    assert on_request.sink.ends[0].outcome is OutcomeCode.SUCCESS


def test_the_arm_stands_soon_after_an_end_request(rig: Rig) -> None:
    steps(rig, 5)
    assert any(rig.commands[-1].dq_rad_s)
    rig.policy.accepts_episodes = False
    rig.policy.interface.request_end(EndRequest(episode=1, outcome=OutcomeCode.ABORTED, why="cancelled"))
    rig.run(TICKS_PER_STEP + 25)
    assert not any(rig.commands[-1].dq_rad_s)
    stood = rig.commands[-1].q_rad
    rig.run(100)
    assert rig.commands[-1].q_rad == stood
    assert (rig.policy.interface.view.state, len(rig.sink.ends)) == (EpisodeState.RESETTING, 1)


def test_each_start_request_makes_one_episode(on_request: Rig) -> None:
    on_request.run(200)
    view = on_request.policy.interface.view
    assert (view.state, view.episode, view.missing) == (EpisodeState.WAITING, 1, ("no start was requested",))
    on_request.policy.interface.request_start(StartRequest())
    run_until(on_request, lambda: on_request.sink.ends)
    on_request.run(200)
    assert [e.episode for e in on_request.sink.ends] == [1]
    assert on_request.policy.interface.view.state is EpisodeState.WAITING


def test_a_start_request_may_be_cancelled_and_may_name_a_class(on_request: Rig) -> None:
    run_until(on_request, lambda: on_request.policy.interface.view.state is EpisodeState.WAITING)
    here = on_request.scenarios[0].object.object_class
    other = next(c for c in OBJECT_CLASSES if c != here)
    on_request.policy.interface.request_start(StartRequest(object_class=other))
    on_request.run(100)
    assert on_request.policy.interface.view.state is EpisodeState.WAITING
    on_request.policy.interface.cancel_start()
    on_request.run(100)
    assert on_request.policy.interface.view.state is EpisodeState.WAITING
    on_request.policy.interface.request_start(StartRequest(object_class=here))
    run_until(on_request, lambda: on_request.policy.interface.view.state is EpisodeState.RUNNING)
    seen = on_request.policy.interface.view.object
    assert seen is not None
    assert seen.object_class == here


def test_the_view_follows_the_episode(rig: Rig) -> None:
    seen = []
    for _ in range(60):
        rig.run(TICKS_PER_STEP)
        seen.append(rig.policy.interface.view)
        if rig.sink.ends:
            break
    ran = [v for v in seen if v.state is EpisodeState.RUNNING and v.episode == 1]
    assert [v.steps for v in ran] == list(range(ran[0].steps, ran[0].steps + len(ran)))
    for view in ran:
        mine = rig.sink.transitions[: view.steps]
        assert view.total_reward == pytest.approx(sum(t.reward for t in mine))
        assert view.interventions == sum(t.interventions for t in mine)
        assert (view.missing, view.version) == ((), 1)
        assert len(view.q_rad) == 7
        assert view.robot_age_s <= 0.1
    (report,) = reports(rig)
    assert report.interventions == sum(t.interventions for t in rig.sink.transitions)
    assert report.why == ""


def test_on_change_is_called_for_changes_only(on_request: Rig, changes: list[str]) -> None:
    run_until(on_request, lambda: on_request.policy.interface.view.state is EpisodeState.WAITING)
    before = len(changes)
    on_request.run(100)
    assert len(changes) == before
    on_request.policy.interface.request_start(StartRequest())
    on_request.run(5 * TICKS_PER_STEP)
    assert changes[before:] == [EpisodeState.RUNNING]


def test_view_and_report_name_what_is_missing_and_why_it_ended(rig: Rig) -> None:
    steps(rig, 3)
    rig.estop.submit(stop())
    run_until(rig, lambda: rig.sink.ends)
    (report,) = reports(rig)
    assert "e-stop is latched" in report.why
    rig.run(100)
    assert rig.policy.interface.view.estop
    assert rig.policy.interface.view.missing[0] == "the e-stop is latched, or safety does not command the arm yet"
    rig.driver_is_alive = False
    rig.run(40)
    assert rig.policy.interface.view.missing[0] == "robot state or safety report is too old"
    assert rig.policy.interface.view.robot_age_s > 0.5


def test_unread_reports_are_bounded(rig: Rig) -> None:
    steps(rig, 3)
    rig.policy.interface.request_end(EndRequest(episode=1, outcome=OutcomeCode.ABORTED, why=""))
    rig.run(TICKS_PER_STEP)
    (report,) = reports(rig)
    for number in range(100):
        rig.policy.interface.report(msgspec.structs.replace(report, interventions=number))
    assert [r.interventions for r in reports(rig)] == list(range(84, 100))
