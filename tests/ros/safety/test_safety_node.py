"""Safety as a real process over DDS: freezes, garbage, silence, and a stop latch that only an operator opens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from floop_robot.services.supervision.ros_domain import reserved_domain
from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces import msg, srv
from floop_robot.robot.estop_interface import NOT_ON_DISK
from floop_robot.robot.estop_latch import ALREADY_RESET, OLD_NONCE, OTHER_STOP, EstopLatch
from floop_robot.robot.estop_socket import LATCH_FILE, ask_robot
from floop_robot.robot.ipc import link_folder
from floop_robot.robot.messages import ResetCommand, StopCommand
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS
from floop_robot.services.safety import SafetyStats
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.spec.errors import StorageError
from floop_robot.spec.robot_model import load_robot
from tests.support.operator_tokens import TOKEN, WHO, operators_file
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, RobotRig
from tests.support.ros.safety_rig import WAYS, SafetyRig, name

HOLD_S = 0.1
STOP_S = 0.05
LIMITS = load_robot("panda").limits


@pytest.fixture(scope="module")
def shared_cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SafetyRig]:
    with reserved_domain() as domain, SafetyRig(tmp_path_factory.mktemp("cell"), domain) as cell:
        cell.start()
        yield cell


@pytest.fixture
def cell(shared_cell: SafetyRig) -> SafetyRig:
    """The arm swings, nothing is stopped and nothing went wrong yet; how it got there is another test's business."""
    for process in (shared_cell.policy.process, shared_cell.driver.process):
        process.send_signal(signal.SIGCONT)  # a test that failed may have left them frozen
    shared_cell.policy.say("well")
    shared_cell.open_latch()
    shared_cell.wait_following()
    assert shared_cell.ticks[-1].fault == ""
    return shared_cell


def moves(cell: SafetyRig, since_s: float) -> int:
    """Ticks since then whose command differs from the one before."""
    q = [t.q_rad for t in cell.ticks if t.time_s >= since_s]
    return sum(a != b for a, b in pairwise(q))


def test_a_frozen_policy_is_held_in_time_however_it_froze(cell: SafetyRig) -> None:
    for _ in range(3):
        frozen_s = time.time()
        cell.policy.process.send_signal(signal.SIGSTOP)
        assert cell.first(frozen_s, mode="holding").time_s - frozen_s <= HOLD_S
        assert cell.stands(frozen_s).time_s - frozen_s <= 0.5
        cell.policy.process.send_signal(signal.SIGCONT)
        cell.wait_following()

        spins_s = cell.policy.spin(0.5)
        assert cell.first(spins_s, mode="holding").time_s - spins_s <= HOLD_S
        cell.wait_following()

    successor = cell.swinger()
    killed_s = time.time()
    os.kill(cell.policy.process.pid, signal.SIGKILL)
    assert cell.first(killed_s, mode="holding").time_s - killed_s <= HOLD_S
    assert cell.first(killed_s, mode="stopping").cause in ("late_target", "none")
    cell.policy.kill()
    cell.policy = successor
    successor.say("go")
    cell.wait_following()


def test_nan_is_held_counted_and_named(cell: SafetyRig) -> None:
    said_s = time.time()
    cell.policy.say("nan")
    tick = cell.first(said_s, cause="nonfinite")
    assert tick.mode == "holding"
    assert "not finite" in tick.fault
    assert tick.nonfinite >= 1
    still = cell.stands(said_s)
    assert np.isfinite(still.q_rad).all()
    wait_for(lambda: cell.ticks[-1].nonfinite > tick.nonfinite)
    cell.policy.say("well")
    cell.wait_following()
    assert cell.ticks[-1].fault  # remembered until somebody releases


def test_a_silent_driver_is_a_controlled_stop(cell: SafetyRig) -> None:
    silent_s = time.time()
    cell.driver.process.send_signal(signal.SIGSTOP)
    try:
        tick = cell.first(silent_s, mode="stopping", cause="stale_state")
        assert 0.08 <= tick.time_s - silent_s <= 0.15
        cell.stands(silent_s)
        q = np.array([t.q_rad for t in cell.ticks if t.time_s >= silent_s - 0.2])
        acceleration = np.abs(np.diff(q, 2, axis=0)) * 50.0**2
        assert (acceleration <= np.array(LIMITS.acceleration_rad_s2) * (1 + 1e-6)).all()
    finally:
        cell.driver.process.send_signal(signal.SIGCONT)
    cell.wait_following()


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_stands_at_once_and_latches(cell: SafetyRig, way: str) -> None:
    asked_s = cell.stop_by(way)
    stopped = cell.first(asked_s, mode="estop")
    assert stopped.time_s - asked_s <= STOP_S
    before = [t for t in cell.ticks if t.time_s < stopped.time_s][-1]
    assert stopped.q_rad == before.q_rad  # commanded velocity is zero from this very tick
    wait_for(lambda: cell.latch.latched and cell.latch.on_disk)
    names = {"topic": topics.ESTOP, "fleet topic": topics.FLEET_ESTOP, "trigger": topics.ESTOP_TRIGGER}
    assert (cell.latch.robot, cell.latch.who) == (ROBOT, names.get(way, "ann"))
    assert moves(cell, stopped.time_s) == 0
    stop_id = cell.latch.stop_id
    assert stop_id
    cell.open_latch()
    cell.wait_following()
    assert not cell.latch.latched and cell.latch.stop_id == stop_id


def test_nothing_but_a_reset_opens_the_latch(cell: SafetyRig) -> None:
    cell.stop_by("service")
    since_s = time.time()
    for module, kindly in (("safety_node", False), ("safety_node", True), ("sim_robot_node", False)):
        heard = len(cell.ticks)
        cell.restart(module, kindly=kindly)
        wait_for(lambda heard=heard: len(cell.ticks) > heard + 30)
        assert cell.ticks[-1].mode == "estop"
        if module != "sim_robot_node":  # a driver that was started anew knows of the stop once safety says it again
            answer = cell.reset(episode=2 + heard)
            assert not answer.success
            assert answer.message.startswith("the arm is stopped") and answer.message.endswith("test")
        heard = len(cell.ticks)
        wait_for(lambda heard=heard: len(cell.ticks) > heard + 60)
    assert {t.mode for t in cell.ticks if t.time_s >= since_s} == {"estop"}
    assert "stopped by ann: test" in cell.ticks[-1].fault
    cell.open_latch()
    cell.reset(episode=7)
    cell.wait_following()


def test_what_was_asked_for_before_the_reset_is_never_done(cell: SafetyRig) -> None:
    cell.stop_by("service")
    cell.policy.process.send_signal(signal.SIGSTOP)  # its last targets are on their way or with safety already
    cell.wait_at_rest()  # an arm released while it still catches up with its last command is braked, and that moves it
    released_s = time.time()
    cell.open_latch()
    begins = cell.first(released_s, mode="holding")  # where the arm is, give or take what its controller lags
    stopped = [t for t in cell.ticks if t.mode == "estop"][-1]
    assert begins.q_rad == pytest.approx(stopped.q_rad, abs=0.02)
    wait_for(lambda: sum(t.time_s > begins.time_s for t in cell.ticks) > 20)
    assert moves(cell, begins.time_s) == 0
    assert cell.ticks[-1].mode != "following"
    cell.policy.process.send_signal(signal.SIGCONT)
    cell.wait_following()


def test_a_stop_is_answered_when_it_is_on_disk_and_a_repeat_changes_nothing(cell: SafetyRig) -> None:
    first = cell.stop(request_id="a")
    assert first.success and first.message == f"{ROBOT}: stopped"
    assert first.state.latched and first.state.on_disk and first.state.request_id == "a"
    assert EstopLatch(link_folder(cell.rig.run_dir, ROBOT) / LATCH_FILE).is_set
    again = cell.stop("bob", request_id="a")
    assert again.success and again.state.stop_id == first.state.stop_id
    assert again.state.who == "ann"
    other = cell.stop("bob", request_id="b")  # of an arm that is stopped
    assert other.state.stop_id != first.state.stop_id
    cell.restart("safety_node")
    wait_for(lambda: cell.latch.latched and cell.latch.stop_id not in (first.state.stop_id, other.state.stop_id))
    found = cell.latch.stop_id
    assert cell.stop(request_id="b").state.stop_id == found  # of the present latch, also for the next process


def test_a_reset_names_the_stop_and_a_fresh_nonce(cell: SafetyRig) -> None:
    assert cell.stop().success
    seen = wait_for(lambda: cell.latch if cell.latch.latched else None)
    for changes, words in (
        ({"stop_id": ""}, "stop_id is empty"),
        ({"stop_id": "0" * 16}, OTHER_STOP),
        ({"nonce": ""}, OLD_NONCE),
        ({"nonce": "0" * 16}, OLD_NONCE),
        ({"who": " "}, "say who asks"),
    ):
        answer = cell.reset_estop(**changes)
        assert not answer.success and words in answer.message and answer.state.latched
    assert cell.stop("bob").success
    stale = cell.reset_estop(stop_id=seen.stop_id)
    assert not stale.success and OTHER_STOP in stale.message
    wait_for(lambda: cell.latch.stop_id != seen.stop_id)
    done = cell.reset_estop()
    assert done.success and not done.state.latched and not done.state.start_required
    assert cell.reset_estop(nonce="").message == f"{ROBOT}: {ALREADY_RESET}"
    cell.wait_following()
    cell.stop("bob")
    assert not cell.reset_estop(stop_id=done.state.stop_id, nonce=done.state.nonce).success  # a delayed repeat
    cell.restart("safety_node")  # its successor has other nonces and another stop_id
    assert not cell.reset_estop(stop_id=cell.latch.stop_id, nonce=done.state.nonce).success


def test_the_nonce_is_renewed_each_second(cell: SafetyRig) -> None:
    heard = len(cell.latches)
    begin_s = time.monotonic()
    wait_for(lambda: len({m.nonce for m in list(cell.latches)[heard:]}) == 4)
    assert 2.0 < time.monotonic() - begin_s < 6.0


def test_a_button_is_a_level(cell: SafetyRig) -> None:
    cell.press("topic", False)
    cell.press("topic")
    wait_for(lambda: cell.latch.latched and cell.latch.hardware_stop)
    stop_id = cell.latch.stop_id
    cell.press("topic")  # the same level again: no rising edge
    cell.press("fleet topic", False)  # another input
    refused = cell.reset_estop()
    assert not refused.success and f"{topics.ESTOP} still says stop" in refused.message
    assert refused.state.stop_id == stop_id and refused.state.hardware_stop
    cell.press("topic", False)
    wait_for(lambda: not cell.latch.hardware_stop)
    assert cell.latch.latched  # false never resets
    cell.press("topic")
    wait_for(lambda: cell.latch.stop_id != stop_id)
    cell.open_latch()
    cell.wait_following()


def test_a_frozen_safety_process_takes_each_stop_and_no_old_reset(cell: SafetyRig) -> None:
    """What waited for it: a stop by socket and by service, then a reset of the latch as it was before."""
    assert cell.stop().success
    seen = wait_for(lambda: cell.latch if cell.latch.latched else None)
    cell.safety.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StorageError, match="does not answer"):
            ask_robot(cell.rig.run_dir, ROBOT, StopCommand(who="bob"))
        late = srv.StopRobot.Request(who="eve")
        stop = cell.peer.send(srv.StopRobot, name(topics.STOP), late)
        given = {"stop_id": seen.stop_id, "nonce": seen.nonce, "who": "ann"}
        reset = cell.peer.send(srv.ResetEstop, name(topics.RESET_ESTOP), srv.ResetEstop.Request(**given))
    finally:
        cell.safety.process.send_signal(signal.SIGCONT)
    assert cell.peer.result(stop, 10.0).success
    cell.peer.result(reset, 10.0)  # it may have come first: then the stops came after it
    wait_for(lambda: cell.latch.latched and cell.latch.stop_id != seen.stop_id)
    assert cell.latch.who.endswith("bob") or "bob" in cell.latch.who or "eve" in cell.latch.who
    assert cell.ticks[-1].mode == "estop"


def test_a_second_safety_process_is_refused_in_one_line(cell: SafetyRig) -> None:
    first, before = cell.safety, len(cell.safety.text)
    second = cell.rig.start_again("safety_node")
    cell.rig.nodes["safety_node"] = first
    status, text = cell.rig.exit_of(second)
    assert status == 2
    assert text[before:].count("\n") == 1
    assert "another process" in text[before:]


def test_a_reset_needs_the_operators_token(tmp_path: Path, domain: int) -> None:
    with SafetyRig(tmp_path, domain, operators=operators_file(tmp_path)) as cell:
        cell.start()
        assert cell.stop(who="").success  # anyone may stop
        wait_for(lambda: cell.latch.latched)
        for who, token in (("ann", ""), ("ann", "guess"), ("bob", TOKEN), ("", TOKEN)):
            answer = cell.reset_estop(who=who, token=token)
            assert not answer.success
            assert answer.state.latched
        state = cell.latch
        by_socket = ResetCommand(who="ann", stop_id=state.stop_id, nonce=state.nonce, token="guess")
        assert not ask_robot(cell.rig.run_dir, ROBOT, by_socket).success
        answer = cell.reset_estop(token=TOKEN)
        assert answer.success, answer.message
        cell.wait_following()


def test_a_disk_that_refuses_is_reported(cell: SafetyRig) -> None:
    latch = link_folder(cell.rig.run_dir, ROBOT) / LATCH_FILE
    latch.unlink(missing_ok=True)
    latch.mkdir()  # neither written nor removed
    stopped = cell.stop()
    assert not stopped.success
    assert stopped.state.latched and not stopped.state.on_disk
    assert stopped.message == f"{ROBOT}: stopped{NOT_ON_DISK}"
    wait_for(lambda: cell.latch.stop_id == stopped.state.stop_id)
    reset = cell.reset_estop()
    assert reset.success
    assert not reset.state.latched and NOT_ON_DISK in reset.message
    latch.rmdir()
    assert cell.stop().success


def test_a_real_arm_is_reset_by_nobody_where_nobody_is_named(tmp_path: Path, domain: int) -> None:
    rig, peer = RobotRig(tmp_path / "run", domain), Peer(domain)
    try:
        rig.start("sim_robot_node")
        node = rig.start("safety_node")  # which does not know that this arm is simulated
        first = peer.call(srv.StopRobot, name(topics.STOP), srv.StopRobot.Request())
        assert first.success
        assert "did not know the arm" in first.state.why  # real arms start stopped
        request = srv.ResetEstop.Request(stop_id=first.state.stop_id, nonce=first.state.nonce, who=WHO, token=TOKEN)
        refused = peer.call(srv.ResetEstop, name(topics.RESET_ESTOP), request)
        assert not refused.success
        assert "no operators' file" in refused.message
        assert refused.state.latched
        assert "nobody can reset the e-stop" in node.text
        figures = wait_for(lambda: read_stats(tmp_path / "run", f"{ROBOT}.safety", SafetyStats))
        assert [one.simulated for one in figures] == [False]  # `floop health` asks for no simulated arm
    finally:
        peer.close()
        rig.close()


def test_health_is_published_once_a_second(cell: SafetyRig) -> None:
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    heard = cell.peer.listen(DiagnosticArray, topics.DIAGNOSTICS, EVENTS)

    def find(part: str) -> DiagnosticStatus | None:
        found = [s for m in heard for s in m.status if part in s.name]
        return found[-1] if found else None

    servo = wait_for(lambda: find("safety_node: servo loop"))
    assert (servo.hardware_id, servo.name) == ("robot_1", "robot_1/safety_node: servo loop")
    assert {v.key for v in servo.values} >= {"rate_hz", "missed_ticks", "late_p99_ms"}
    driver = wait_for(lambda: find("sim_robot_node: driver loop"))
    assert {v.key for v in driver.values} >= {"rate_hz", "real_time_factor", "episodes"}
    cell.stop_by("service")
    heard.clear()
    status = wait_for(lambda: find("safety_node: safety"))
    assert status.level == DiagnosticStatus.ERROR
    assert "stopped by ann" in status.message


def test_the_policys_requests_have_no_way_around_safety(cell: SafetyRig) -> None:
    """Only the safety node publishes on the controller's topic and on the gripper's."""
    for topic in ("joint_trajectory_controller/joint_trajectory", topics.GRIPPER_COMMAND):
        found = cell.peer.node.get_publishers_info_by_topic(name(topic))
        assert {(p.node_namespace, p.node_name) for p in found} == {("/robot_1", "safety_node")}
    assert isinstance(cell.latches[-1], msg.EstopState)


def test_both_end_in_order_on_a_second_signal_too(tmp_path: Path, domain: int) -> None:
    with SafetyRig(tmp_path, domain) as cell:
        wait_for(lambda: len(cell.ticks) > 5 and cell.joints, what="both nodes at work")
        cell.safety.end(signals=2)
        cell.driver.end(signals=2)
