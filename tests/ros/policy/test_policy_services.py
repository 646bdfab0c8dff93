"""Episodes by hand, labels and drain, at a robot whose episodes start on call: real arm, safety and policy nodes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_INTERFACES, NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
if importlib.util.find_spec("floop_interfaces.msg._audit_entry") is None:
    pytest.skip(NO_INTERFACES, allow_module_level=True)

from floop_interfaces.msg import EpisodeResult
from floop_interfaces.srv import DrainRobot
from floop_robot.spec.records import EpisodeEnd, OutcomeCode
from tests.support.operator_tokens import TOKEN
from tests.support.ros.recorded_robot import HERE, Robot, robot_on_call
from tests.support.ros.robot_rig import ROBOT, VERSION


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    with robot_on_call(tmp_path_factory.mktemp("robot")) as robot:
        yield robot


def refused(answer: Any, words: str) -> None:
    assert not answer.success
    assert words in answer.message, answer.message
    assert "\n" not in answer.message
    assert answer.record.who == ""


def done(answer: Any, what: str) -> None:
    assert answer.success, answer.message
    assert (answer.record.who, answer.record.what) == ("ann", what)
    assert answer.record.stamp.sec > 1_600_000_000


def test_an_episode_starts_by_hand_and_its_result_is_published(robot: Robot) -> None:
    ready = robot.wait_ready()
    answer = robot.start()
    done(answer, f"start episode {ready.episode}")
    assert (answer.episode, answer.boot_id) == (ready.episode, robot.state.boot_id)
    assert answer.record.version == VERSION
    refused(robot.start(), f"episode {ready.episode} is running")
    result = robot.finished()
    assert result.outcome in (EpisodeResult.OUTCOME_SUCCESS, EpisodeResult.OUTCOME_TIMEOUT)
    assert (result.robot, result.episode, result.policy_version) == (ROBOT, ready.episode, VERSION)
    assert (result.task, result.detail, result.header.frame_id) == ("floop/Pick-v0", "", "robot_1/panda_link0")
    assert result.work.present
    assert result.work.size_m.x > 0.0
    assert result.steps * 0.08 == pytest.approx(result.duration_s, abs=0.2)
    (end,) = wait_for(
        lambda: [r for r in robot.records() if isinstance(r, EpisodeEnd) and r.episode == ready.episode],
        what="the record of the end",
    )
    assert (end.steps, end.outcome, end.total_reward) == (
        result.steps,
        OutcomeCode(result.outcome),
        result.total_reward,
    )
    assert robot.wait_ready().episode == ready.episode + 1


def test_an_episode_ends_by_hand_as_requested_and_the_arm_stands(robot: Robot) -> None:
    for outcome in (OutcomeCode.SUCCESS, OutcomeCode.TIMEOUT, OutcomeCode.ABORTED):
        robot.wait_ready()
        number = robot.start().episode
        wait_for(lambda: not robot.stands(), what="a moving arm")
        answer = robot.end(outcome=outcome.value, why="the scale says so")
        done(answer, f"end episode {number}")
        assert (answer.result.episode, answer.result.outcome) == (number, outcome.value)
        assert answer.result.detail == "ann: the scale says so"
        robot.wait_result(number)
        wait_for(robot.stands, 1.0, "a standing arm")
        robot.wait_event("episode_ended", f"{number} {outcome.name.lower()}: ann: the scale says so")


def test_nothing_ends_where_nothing_runs_and_an_outcome_must_be_one(robot: Robot) -> None:
    robot.wait_ready()
    refused(robot.end(), "no episode runs")
    robot.start()
    refused(robot.end(outcome=7), "outcome 7 is none of")
    assert robot.end(outcome=2).success


@pytest.mark.parametrize("call", ["start", "end", "label"])
def test_who_asks_must_be_known(robot: Robot, call: str) -> None:
    robot.wait_ready()
    ask = getattr(robot, call)
    refused(ask(who=""), "say who asks")
    refused(ask(token="guess"), "no valid operator token")
    refused(ask(who="bob"), "no valid operator token")
    assert robot.state.detail == "no start was requested"


def test_a_call_repeated_with_its_id_has_one_effect(robot: Robot) -> None:
    robot.wait_ready()
    first = robot.start(call_id="one")
    again = robot.start(call_id="one")
    assert first.success
    assert again == first
    robot.finished()
    robot.wait_ready()
    assert robot.start(call_id="one") == first  # and it does not start another
    assert robot.state.phase == "waiting"
    before = len(robot.labels())
    for _ in range(3):
        assert robot.label(episode=first.episode, episode_success=True, call_id="two").success
    assert len(robot.labels()) == before + 1


def test_labels_are_on_the_disk_when_they_are_confirmed(robot: Robot) -> None:
    robot.wait_ready()
    number = robot.start().episode
    refused(robot.label(episode=number), "has not ended yet")
    refused(robot.label(episode=number + 1000), "has not ended yet")
    refused(robot.label(episode=2**63, boot_id="0123456789abcdef"), "numbers go from 1 to")  # no database holds it
    robot.finished()
    for success in (False, True):
        answer = robot.label(episode=number, episode_success=success, comment="fell out of the bag ü")
        done(answer, f"label episode {number} as a {'success' if success else 'failure'}")
        label = robot.labels()[-1]
        assert (label.episode, label.success, label.author) == (number, success, "ann")
        assert (label.comment, label.episode_boot_id) == ("fell out of the bag ü", robot.state.boot_id)
    assert robot.label(boot_id="0123456789abcdef", episode=5, episode_success=True).success  # of an earlier life
    assert robot.labels()[-1].episode_boot_id == "0123456789abcdef"
    count = len(robot.labels())
    refused(robot.label(episode=0), "say which episode")
    refused(robot.label(episode=number, boot_id="../../etc"), "16 digits")
    refused(robot.label(episode=number, comment="x" * 2001), "2000 characters")
    assert len(robot.labels()) == count


def test_a_drained_robot_finishes_its_episode_and_starts_no_other(robot: Robot) -> None:
    robot.wait_ready()
    number = robot.start().episode
    answer = robot.drain(True)
    done(answer, "drain")
    assert not answer.idle
    answer = robot.drain(True, wait_s=20.0)  # others are served meanwhile: see the next test
    done(answer, "drain")
    assert answer.idle
    assert robot.wait_result(number).outcome != EpisodeResult.OUTCOME_ABORTED
    (status,) = answer.robots
    assert (status.robot, status.drained, status.version) == (ROBOT, True, VERSION)
    wait_for(lambda: "drained here" in robot.state.detail, what="the reason")
    refused(robot.start(), "drained here")
    done(robot.drain(False), "work again")
    robot.wait_ready()
    assert robot.start().success
    robot.end(outcome=2)


def test_a_call_that_waits_keeps_nobody_else_waiting(robot: Robot) -> None:
    robot.wait_ready()
    number = robot.start().episode
    request = DrainRobot.Request(drain=True, wait_s=30.0, who="ann", token=TOKEN)
    waiting = robot.peer.send(DrainRobot, f"{HERE}/drain", request)
    wait_for(lambda: (robot.rig.folder / "drained_here").exists(), what="the drain")
    assert robot.end(outcome=2).result.episode == number
    assert robot.peer.result(waiting).idle
    robot.drain(False)


def test_drain_refuses_what_it_can_not_mean(robot: Robot) -> None:
    refused(robot.drain(True, robot="robot_2"), "this is robot_1, not robot_2")
    refused(robot.drain(True, wait_s=-1.0), "wait_s")
    refused(robot.drain(True, wait_s=float("nan")), "wait_s")
    refused(robot.drain(True, token=""), "no valid operator token")
    assert not (robot.rig.folder / "drained_here").exists()


def test_a_latched_robot_starts_nothing(robot: Robot) -> None:
    robot.wait_ready()
    number = robot.start().episode
    assert robot.estop(True).success
    assert "e-stop is latched" in robot.wait_result(number).detail
    wait_for(robot.stands, 1.0, "a standing arm")
    wait_for(lambda: "e-stop is latched" in robot.state.detail, what="the reason")
    refused(robot.start(), "the e-stop is latched")
    assert robot.estop(False).success
    robot.wait_ready()
    assert robot.start().success
    robot.end(outcome=2)


def test_its_health_is_published(robot: Robot) -> None:
    robot.wait_ready()

    def own() -> dict[str, Any]:
        found = [s for a in robot.health[-20:] for s in a.status if s.name.startswith(f"{ROBOT}/policy_node: ")]
        return {s.name.split(": ")[1]: s for s in found}

    wait_for(lambda: {"control loop", "policy", "episodes", "records", "links"} <= set(own()), what="diagnostics")
    found = own()
    values = {name: {v.key: v.value for v in status.values} for name, status in found.items()}
    assert values["control loop"]["rate_hz"] == "12.5"
    assert values["policy"]["version"] == str(VERSION)
    assert int(values["episodes"]["episodes"]) >= 1
    assert int(values["records"]["spool_depth"]) > 0  # nobody takes them: there is no ingest
    assert values["records"]["dropped"] == "0"
    assert float(values["links"]["robot_age_ms"]) < 100.0
    assert found["links"].message == "driver and safety speak"
    assert {s.hardware_id for s in found.values()} == {ROBOT}


def test_it_says_which_policy_acts(robot: Robot) -> None:
    status = robot.status[-1]
    assert (status.version, status.incoming_version, status.stage) == (VERSION, VERSION, "acting")
    assert (status.epoch, status.previous_version, status.manager_linked) == (1, 0, False)
    assert len(status.sha256) == 64
    assert status.contract_id
    assert status.acting_since.sec > 1_600_000_000


def test_the_process_is_small(robot: Robot) -> None:
    assert robot.rig.nodes["policy_node"].rss_mb() <= 120.0
    heavy = ("torch", "pybullet", "gymnasium", "matplotlib", "stable_baselines3", "floop_envs")
    code = f"import floop_robot.ros.policy.policy_node, sys; print(*[m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_what_stands_while_the_node_is_at_rest(robot: Robot) -> None:
    """Last, since it takes the node down."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    def change(transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(robot.peer.call(ChangeState, f"{HERE}/policy_node/change_state", request).success)

    robot.wait_ready()
    number = robot.results[-1].episode
    assert change(Transition.TRANSITION_DEACTIVATE)
    refused(robot.start(), "not active")
    refused(robot.end(), "not active")
    assert robot.label(episode=number, episode_success=True).success  # at any time
    assert robot.drain(True).idle
    assert change(Transition.TRANSITION_CLEANUP)
    for answer in (robot.start(), robot.end(), robot.label(episode=number), robot.drain(False)):
        refused(answer, "not configured")
    # Drained once, it stays so until somebody says otherwise: also in another process.
    robot.rig.nodes["policy_node"].end()
    robot.rig.start("policy_node", "autostart:=true", "episode_start:=auto")
    wait_for(lambda: "drained here" in robot.state.detail, 20.0, "a drained robot")
    assert robot.drain(False).success
    robot.wait_phase("running")
