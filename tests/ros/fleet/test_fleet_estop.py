"""Stops and resets of a whole fleet, by real processes: no stop is lost, and no reset is blind, late or repeated."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.services.supervision.ros_domain import reserved_domain
from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from std_msgs.msg import Bool

from floop_interfaces import msg
from floop_robot.cli.operator_options import TOKEN as TOKEN_VARIABLE
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS
from floop_robot.spec.config import save_config
from tests.support.cli_in_process import Floop
from tests.support.operator_tokens import TOKEN, WHO
from tests.support.ros.fleet_estop_rig import EstopFleet


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EstopFleet]:
    with reserved_domain() as domain:
        fleet = EstopFleet(tmp_path_factory.mktemp("fleet"), domain)
        try:
            yield fleet
        finally:
            fleet.close()


@pytest.fixture
def fleet(running: EstopFleet) -> EstopFleet:
    """The fleet with no robot stopped, once the manager reaches all of them."""
    wait_for(lambda: running.stop().success, 30.0, "a stop of all robots")
    running.reset_all()
    return running


def test_a_stop_of_all_is_answered_once_each_has_obeyed_and_stored_it(fleet: EstopFleet) -> None:
    answer = fleet.stop(request_id="mine")
    assert (answer.success, list(answer.pending)) == (True, [])
    assert answer.message == "stopped robot_1, robot_2"
    for robot in fleet.robots:
        state = wait_for(lambda r=robot: fleet.state(r) if fleet.state(r).latched else None)
        assert (state.who, state.why, state.request_id) == ("visitor", "smoke", "mine")
    wait_for(lambda: any(e.what == answer.message and e.who == "visitor" for e in fleet.rig.state().audit))
    again = fleet.stop(request_id="mine")
    assert again.success
    stop_ids = {r: fleet.state(r).stop_id for r in fleet.robots}
    assert {r: fleet.next_states(r)[-1].stop_id for r in fleet.robots} == stop_ids, "a repeat is no new stop"


def test_one_robot_is_stopped_and_an_unknown_name_is_told(fleet: EstopFleet) -> None:
    answer = fleet.stop("robot_1", "robot_1", "robot_7")
    assert not answer.success
    assert answer.message == "stopped robot_1; unknown robot 'robot_7'; known: robot_1, robot_2"
    assert fleet.next_states("robot_1")[-1].latched and not fleet.next_states("robot_2")[-1].latched
    assert fleet.stop("robot_7").message.startswith("stopped none; unknown robot")


@pytest.mark.slow
def test_a_stop_waits_for_an_offline_robot_over_kills_of_the_manager_and_comes_once(fleet: EstopFleet) -> None:
    fleet.safety["robot_1"].kill()
    answer = fleet.stop(request_id="waits")
    assert not answer.success and list(answer.pending) == ["robot_1"]
    assert answer.message == "stopped robot_2; pending at robot_1: the stop is kept, and sent again until obeyed"
    assert fleet.kept("robot_1").exists()
    wait_for(lambda: fleet.pending() == ["robot_1"])
    refused = fleet.reset(fleet.ref("robot_1"), fleet.ref("robot_2"))
    assert [(each.robot, each.success) for each in refused.results] == [("robot_1", False), ("robot_2", True)]
    assert "robot_1 has a stop pending (visitor: smoke)" in refused.message
    fleet.restart_manager()
    assert fleet.pending() == ["robot_1"]
    fleet.start("robot_1")
    wait_for(lambda: fleet.state("robot_1").latched, 10.0, "the stop")
    assert fleet.state("robot_1").request_id == "waits"
    wait_for(lambda: not fleet.pending() and not fleet.kept("robot_1").exists())
    fleet.reset_all()
    fleet.restart_manager()
    assert not any(state.latched for state in fleet.next_states("robot_1", 3)), "it was obeyed: not again"


def test_a_frozen_robot_obeys_when_it_wakes_and_the_manager_may_have_died(fleet: EstopFleet) -> None:
    fleet.freeze("robot_1")
    try:
        assert list(fleet.stop("robot_1").pending) == ["robot_1"]
        fleet.manager.kill()
    finally:
        fleet.freeze("robot_1", False)
    fleet.manager = fleet.rig.start_manager()
    wait_for(lambda: fleet.state("robot_1").latched, 10.0, "the stop")
    wait_for(lambda: not fleet.pending())


def test_a_stop_after_a_reset_that_was_not_answered_wins_and_the_reset_is_not_repeated(fleet: EstopFleet) -> None:
    fleet.stop()
    wait_for(lambda: all(fleet.state(r).latched for r in fleet.robots))
    fleet.freeze("robot_1")
    try:
        ref = fleet.ref("robot_1")
        answer = fleet.reset(ref, fleet.ref("robot_2"))
        assert [(each.robot, each.success) for each in answer.results] == [("robot_1", False), ("robot_2", True)]
        assert "robot_1 did not answer; look at it, and ask again" in answer.message
        assert list(fleet.stop("robot_1").pending) == ["robot_1"]
    finally:
        fleet.freeze("robot_1", False)
    wait_for(lambda: not fleet.pending())
    states = fleet.next_states("robot_1", 3)
    assert all(state.latched for state in states)
    assert not fleet.reset(ref).success, "another stop came since"


def test_the_standard_types_stop_all_robots_and_a_level_holds_resets_back(fleet: EstopFleet) -> None:
    assert fleet.trigger().success
    wait_for(lambda: all(fleet.state(r).latched for r in fleet.robots))
    fleet.reset_all()
    level = fleet.rig.peer.node.create_publisher(Bool, topics.FLEET_ESTOP, EVENTS)
    wait_for(lambda: level.get_subscription_count() >= 2 * (len(fleet.robots) + 1), what="all listeners")
    level.publish(Bool(data=True))
    wait_for(lambda: all(fleet.state(r).latched for r in fleet.robots))
    wait_for(lambda: not fleet.pending())
    held = fleet.reset(*map(fleet.ref, fleet.robots))
    assert not held.success and "still says stop" in held.message
    level.publish(Bool(data=False))
    assert all(fleet.next_states(r)[-1].latched for r in fleet.robots), "false resets nothing"
    fleet.reset_all()
    fleet.rig.peer.node.destroy_publisher(level)


def test_a_reset_is_about_what_its_sender_saw_and_answered_for_each_robot(fleet: EstopFleet) -> None:
    fleet.stop()
    wait_for(lambda: all(fleet.state(r).latched for r in fleet.robots))
    seen = {r: fleet.ref(r) for r in fleet.robots}
    fleet.stop("robot_1", who="bob", why="a hand")
    empty = fleet.reset()
    assert not empty.success and "name robot, stop_id and nonce of those you saw" in empty.message
    guess = fleet.reset(seen["robot_2"], token="guess")
    assert not guess.success and "no valid operator token" in guess.message
    answer = fleet.reset(*seen.values(), msg.EstopRef(robot="robot_7", stop_id="x", nonce="y"))
    assert {each.robot: each.success for each in answer.results} == {
        "robot_1": False, "robot_2": True, "robot_7": False,
    }  # fmt: skip
    assert not fleet.next_states("robot_2")[-1].latched and fleet.next_states("robot_1")[-1].latched
    assert fleet.reset(seen["robot_2"]).success, "already reset"
    wait_for(lambda: any("reset robot_2" in e.what for e in fleet.rig.state().audit))


@pytest.mark.slow
def test_a_kept_stop_that_cannot_be_read_stops_its_robot_and_is_named(fleet: EstopFleet) -> None:
    fleet.manager.kill()
    fleet.kept("robot_2").write_bytes(b"\x93half of a st")
    fleet.manager = fleet.rig.start_manager()
    wait_for(lambda: fleet.state("robot_2").latched, 10.0, "the stop")
    assert fleet.state("robot_2").who == "fleet manager"
    assert f"kept stop {fleet.kept('robot_2')} cannot be read" in fleet.rig.state().trouble
    assert not fleet.next_states("robot_1")[-1].latched
    fleet.restart_manager()
    assert not fleet.rig.state().trouble


def test_floop_stops_and_resets_from_a_host_without_robots(
    fleet: EstopFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    floop, config = Floop(monkeypatch, capfd), tmp_path / "elsewhere.yaml"
    save_config(msgspec.structs.replace(fleet.rig.config, run_dir=str(tmp_path / "run")), config)
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    stopped = floop("stop", "--config", config, "--who", "bob", "--why", "a hand")
    assert (stopped.status, stopped.out) == (0, "robot_1: stopped\nrobot_2: stopped\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    reset = floop("reset", "robot_1", "--config", config, "--who", WHO)
    assert reset.status == 0, reset
    assert reset.out.startswith("robot_1 stopped by bob: a hand, since 20")
    assert "Reset?" in reset.out and reset.out.endswith("robot_1: reset\n")
    assert not fleet.next_states("robot_1")[-1].latched and fleet.next_states("robot_2")[-1].latched
    fleet.safety["robot_1"].kill()
    missed = floop("stop", "robot_1", "--config", config)
    assert missed.status == 1
    assert missed.out.startswith("robot_1: has not obeyed yet: the fleet manager keeps the stop and sends it again")
    refused = floop("reset", "robot_1", "--config", config, "--who", WHO)
    assert (refused.status, "robot_1 has not obeyed a stop of" in refused.error) == (2, True)
    assert "robot_1" in floop("status", "--config", config).out.split("stop pending")[0]
    fleet.start("robot_1")
