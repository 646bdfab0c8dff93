"""The fleet manager's node begins, is killed, and ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter

from floop_interfaces import msg, srv
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED
from floop_robot.spec.config import save_config
from tests.support.operator_tokens import TOKEN, WHO
from tests.support.ros.fleet_rig import FleetRig, policy
from tests.support.ros.slow_zip import slow_zip


@pytest.fixture
def fleet(tmp_path: Path, domain: int) -> Iterator[FleetRig]:
    rig = FleetRig(tmp_path, domain)
    yield rig
    rig.close()


def test_sigkill_forgets_nothing_and_the_node_ends_in_order(fleet: FleetRig) -> None:
    manager = fleet.start_manager()
    fleet.start_robots()
    policy(1).save(fleet.folder / "one.floop")
    order = {"bundle_path": str(fleet.folder / "one.floop"), "call_id": "mine", "wait_s": 20.0}
    pushed = fleet.order(srv.PushPolicy, topics.PUSH_POLICY, **order)
    fleet.order(srv.DrainRobot, topics.DRAIN_ROBOT, robot="robot_2", drain=True)
    states = fleet.peer.listen(msg.FleetState, topics.FLEET_STATE, LATCHED)
    wait_for(lambda: states and states[-1].production_version == 2)
    manager.process.send_signal(signal.SIGKILL)
    manager.process.wait()
    fleet.acting(2)  # robots work on without it
    manager = fleet.start("fleet_manager_node", "/fleet")
    wait_for(lambda: states[-1].epoch == 2, 30.0, "the state of the next epoch")
    state = states[-1]
    assert (state.production_version, state.baseline_version) == (2, 1)
    again = fleet.order(srv.PushPolicy, topics.PUSH_POLICY, **order)  # as a caller whose answer was lost
    assert (again.version, again.record.what) == (pushed.version, pushed.record.what)
    wait_for(lambda: fleet.robots[1].drained)
    # It ends while a command waits for a robot that does not become idle.
    fleet.robots[0].busy = True
    waiting = srv.DrainRobot.Request(robot="robot_1", drain=True, wait_s=100.0, who=WHO, token=TOKEN)
    fleet.peer.send(srv.DrainRobot, topics.DRAIN_ROBOT, waiting)
    wait_for(lambda: fleet.robots[0].drained)
    manager.end(signals=2)
    assert "epoch 2" in manager.text


def test_it_ends_within_what_a_supervisor_grants_while_a_command_and_a_reset_take_long(fleet: FleetRig) -> None:
    manager, safety = fleet.start_manager(), fleet.start("safety_node", "/robot_1", "simulated:=true")
    heard = fleet.peer.listen(msg.EstopState, f"/robot_1/{topics.ESTOP_STATE}", LATCHED)
    stop = {"robots": ["robot_1"], "who": WHO}
    wait_for(lambda: fleet.ask(srv.StopFleet, topics.FLEET_STOP, **stop).success, 30.0, "a stopped robot")
    seen = wait_for(lambda: next((m for m in heard[-1:] if m.latched), None))
    reset = srv.ResetFleet.Request(
        stops=[msg.EstopRef(robot="robot_1", stop_id=seen.stop_id, nonce=seen.nonce)], who=WHO, token=TOKEN
    )
    with slow_zip(fleet.folder / "slow.zip") as until_it_is_being_loaded:
        push = srv.PushPolicy.Request(sb3_zip_path=str(fleet.folder / "slow.zip"), trust_sb3_zip=True)
        push.who, push.token = WHO, TOKEN
        pushed = fleet.peer.send(srv.PushPolicy, topics.PUSH_POLICY, push)
        until_it_is_being_loaded()
        safety.process.send_signal(signal.SIGSTOP)
        waits = fleet.peer.send(srv.ResetFleet, topics.FLEET_RESET_ESTOP, reset)
        # What is answered at once is answered after that has begun: one thread takes the calls.
        assert not fleet.order(srv.ResetFleet, topics.FLEET_RESET_ESTOP).success
        assert not waits.done() and not pushed.done()
        manager.end()
        assert fleet.peer.result(pushed).message == "not done: the fleet manager ends"
        assert not fleet.peer.result(waits).success


def test_a_second_manager_and_a_bad_configuration_end_in_one_line(fleet: FleetRig) -> None:
    manager = fleet.start_manager()
    second = fleet.start("fleet_manager_node", "/second")
    assert second.process.wait(20.0) == 2
    assert "in use by another process" in second.text and "Traceback" not in second.text
    broken = fleet.folder / "broken.yaml"
    broken.write_text("robbots: 3\n")
    third = fleet.start("fleet_manager_node", "/third", config=broken)
    assert third.process.wait(20.0) == 2
    assert third.text.startswith("fleet_manager_node: ") and third.text.count("\n") == 1
    tokens = fleet.folder / "tokens.yaml"
    save_config(msgspec.structs.replace(fleet.config, operators=str(fleet.folder / "none.yaml")), tokens)
    fourth = fleet.start("fleet_manager_node", "/fourth", config=tokens)
    assert fourth.process.wait(20.0) == 2
    assert "none.yaml" in fourth.text and fourth.text.count("\n") == 1
    assert fleet.state().production_version == 1
    manager.end()


def test_its_parameters_are_described_and_cannot_be_changed(fleet: FleetRig) -> None:
    fleet.start_manager()
    name = "/fleet/fleet_manager_node"
    described = fleet.ask(DescribeParameters, f"{name}/describe_parameters", names=["config"]).descriptors[0]
    assert "needs a restart" in described.additional_constraints and len(described.description) > 10
    changed = Parameter("config", Parameter.Type.STRING, "other.yaml").to_parameter_msg()
    result = fleet.ask(SetParameters, f"{name}/set_parameters", parameters=[changed]).results[0]
    assert (result.successful, result.reason[:22]) == (False, "config needs a restart")
