"""The policy node's life cycle: every transition, what can go wrong in each, and its end."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_INTERFACES, NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
if importlib.util.find_spec("floop_interfaces.msg._audit_entry") is None:
    pytest.skip(NO_INTERFACES, allow_module_level=True)

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log, Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile

from floop_interfaces.msg import EpisodeResult, EpisodeState, JointTarget, PolicyStatus
from floop_interfaces.srv import DrainRobot
from floop_robot.ros.node.qos import COMMAND, EVENTS, LATCHED
from floop_robot.services.supervision.fleet_description import Middleware, robot_processes
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.records import EpisodeEnd, OutcomeCode
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, VERSION, RobotRig

NODE = f"/{ROBOT}/policy_node"


@pytest.fixture
def rig(tmp_path: Path, domain: int) -> Iterator[RobotRig]:
    rig = RobotRig(tmp_path, domain)
    rig.install()
    yield rig
    rig.close()


@pytest.fixture
def peer(domain: int) -> Iterator[Peer]:
    peer = Peer(domain)
    yield peer
    peer.close()


def change(peer: Peer, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(peer.call(ChangeState, f"{NODE}/change_state", request).success)


def state(peer: Peer) -> str:
    return str(peer.call(GetState, f"{NODE}/get_state", GetState.Request()).current_state.label)


def test_the_whole_life_by_hand(rig: RobotRig, peer: Peer) -> None:
    rig.start_arm()
    node = rig.start("policy_node")
    targets = peer.listen(JointTarget, f"/{ROBOT}/joint_target", COMMAND)
    results = peer.listen(EpisodeResult, f"/{ROBOT}/episode_result", EVENTS)
    states = peer.listen(EpisodeState, f"/{ROBOT}/episode_state", LATCHED)
    status = peer.listen(PolicyStatus, f"/{ROBOT}/policy_status", LATCHED)
    assert state(peer) == "unconfigured"
    assert not change(peer, Transition.TRANSITION_ACTIVATE)  # not from here
    assert state(peer) == "unconfigured"

    assert change(peer, Transition.TRANSITION_CONFIGURE)
    assert state(peer) == "inactive"
    assert rig.spool_lock()
    wait_for(lambda: status and states, what="a word of the configured node")
    assert (status[-1].robot, status[-1].task) == (ROBOT, "floop/Pick-v0")
    assert ([s.phase for s in states], states[0].detail) == (["waiting"], "the policy node is not active")

    assert change(peer, Transition.TRANSITION_ACTIVATE)
    assert state(peer) == "active"
    wait_for(lambda: len(targets) > 5, what="an episode")
    assert "running" in [s.phase for s in states]
    wait_for(lambda: status[-1].version == VERSION and status[-1].stage == "acting", what="an acting policy")

    assert change(peer, Transition.TRANSITION_DEACTIVATE)
    assert state(peer) == "inactive"
    wait_for(lambda: results, what="the end of the episode")
    assert (results[-1].outcome, results[-1].detail) == (EpisodeResult.OUTCOME_ABORTED, "the control loop is ending")
    assert results[-1].steps >= 3
    wait_for(lambda: states[-1].detail == "the policy node is not active", what="a word of the inactive node")
    sent, pulses = len(targets), len(status)
    wait_for(lambda: len(status) > pulses, what="a pulse of the inactive node")
    assert len(targets) == sent

    assert change(peer, Transition.TRANSITION_ACTIVATE)
    wait_for(lambda: len(targets) > sent + 5, what="another episode")
    assert targets[-1].episode > results[0].episode
    assert change(peer, Transition.TRANSITION_DEACTIVATE)
    assert change(peer, Transition.TRANSITION_CLEANUP)
    assert state(peer) == "unconfigured"
    assert not rig.spool_lock()
    assert change(peer, Transition.TRANSITION_CONFIGURE)
    assert change(peer, Transition.TRANSITION_ACTIVATE)
    sent = len(targets)
    wait_for(lambda: len(targets) > sent, what="an episode after cleanup")
    assert change(peer, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert state(peer) == "finalized"
    assert not rig.spool_lock()
    assert not change(peer, Transition.TRANSITION_CONFIGURE)
    node.end()


def test_a_mistake_in_the_configuration_leaves_it_unconfigured_until_it_is_mended(rig: RobotRig, peer: Peer) -> None:
    path = rig.run_dir / "mended.yaml"
    good = rig.config_file.read_text()
    node = rig.start("policy_node", config=path)
    for text, complaint in (
        ("robots: none\n", "robots"),
        (good.replace("panda", "pandda"), "did you mean 'panda'?"),
        (good.replace("Pick-v0", "Pik-v0"), "did you mean 'floop/Pick-v0'?"),
        (good.replace(str(rig.run_dir), "/proc/nowhere"), "cannot use"),
        (good.replace("operators: ''", "operators: /nowhere/tokens.yaml"), "/nowhere/tokens.yaml"),
    ):
        assert text != good
        path.write_text(text)
        assert not change(peer, Transition.TRANSITION_CONFIGURE)
        assert state(peer) == "unconfigured"
        lines = [line for line in node.text.splitlines() if "configure: " in line]
        assert complaint in lines[-1], node.text
    path.write_text(good)
    assert change(peer, Transition.TRANSITION_CONFIGURE)
    assert state(peer) == "inactive"
    node.end()


def test_it_does_not_come_up_by_itself_with_a_mistake(rig: RobotRig) -> None:
    for parameter, complaint in (
        ("robot:=robot_9", "unknown robot 'robot_9'"),
        ("driver:=teach_pendant", "unknown driver 'teach_pendant'"),
    ):
        status, text = rig.exit_of(rig.start("policy_node", "autostart:=true", parameter))
        assert status == 2
        assert complaint in text.splitlines()[-1]
        assert "Traceback" not in text


def test_a_spool_in_use_is_refused_in_one_line(rig: RobotRig) -> None:
    (rig.folder / "spool").mkdir(parents=True)
    with (rig.folder / "spool" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, text = rig.exit_of(rig.start("policy_node", "autostart:=true"))
    assert status == 2
    assert "is in use by another process" in text.splitlines()[-1]


def test_parameters_are_described_and_bad_ones_refused(rig: RobotRig, peer: Peer) -> None:
    for parameter, complaint in (
        ("episode_start:=sometimes", "use one of 'auto', 'service'"),
        ("autostart:=7", "parameter autostart is 7; use true or false"),
        ("config:=12.5", "parameter config is 12.5; use a text"),
    ):
        status, text = rig.exit_of(rig.start("policy_node", parameter))
        assert (status, complaint in text.splitlines()[-1]) == (2, True), text
    node = rig.start("policy_node")
    names = ["config", "robot", "driver", "autostart", "episode_start"]
    described = peer.call(DescribeParameters, f"{NODE}/describe_parameters", DescribeParameters.Request(names=names))
    for descriptor in described.descriptors:
        assert len(descriptor.description) > 20
    constraints = {d.name: d.additional_constraints for d in described.descriptors}
    needs_restart = {name for name, words in constraints.items() if "needs a restart" in words}
    assert needs_restart == {"config", "robot", "driver", "autostart"}
    assert "'auto'" in constraints["episode_start"]
    logged = peer.listen(Log, "/rosout", QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    for name, value, refusal in (
        ("episode_start", "sometimes", "episode_start is 'sometimes'; use one of 'auto', 'service'"),
        ("episode_start", "service", ""),
        ("episode_start", "auto", "episode_start: 'auto' needs a restart"),
        ("config", "other.yaml", "config needs a restart"),
        ("unheard_of", "x", "undeclared parameter"),
    ):
        given = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=given)])
        (answer,) = peer.call(SetParameters, f"{NODE}/set_parameters", request).results
        assert (answer.successful, refusal in answer.reason) == (not refusal, True), (name, value, answer)
    warned = "parameter refused: config needs a restart"
    wait_for(lambda: any(line.msg.startswith(warned) for line in logged), what="the refusal on /rosout")
    assert {line.level for line in logged if line.msg.startswith(warned)} == {30}
    node.end()


def test_killed_it_comes_back_active_by_itself(rig: RobotRig, peer: Peer) -> None:
    processes = robot_processes(rig.config_file, ROBOT, Middleware.ROS)
    results = peer.listen(EpisodeResult, f"/{ROBOT}/episode_result", EVENTS)
    with Supervisor(processes, rig.run_dir, {"ROS_DOMAIN_ID": str(rig.domain)}) as supervisor:
        name = f"{ROBOT}.policy"
        wait_for(lambda: results, 40.0, "an episode")
        first = supervisor.pid(name)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: supervisor.pid(name) not in (None, first), what="another process")
        heard = len(results)
        wait_for(lambda: len(results) > heard, 40.0, "an episode of the new process")
        assert [r.name for r in supervisor.restarts] == [name]
        text = supervisor.log(name).read_text()
    numbers = [r.episode for r in results]
    assert numbers == sorted(set(numbers))
    assert "Traceback" not in text
    assert "terminate called" not in text


def test_it_ends_in_order_in_the_midst_of_an_episode(rig: RobotRig, peer: Peer) -> None:
    results = peer.listen(EpisodeResult, f"/{ROBOT}/episode_result", EVENTS)
    rig.start_arm()
    node = rig.start("policy_node", "autostart:=true")
    targets = peer.listen(JointTarget, f"/{ROBOT}/joint_target", COMMAND)
    wait_for(lambda: targets, what="an episode")
    node.end(signals=2)  # as from ros2 launch
    wait_for(lambda: results, what="the end of the episode")
    first = results[-1]
    assert first.outcome == EpisodeResult.OUTCOME_ABORTED
    # The records are whole: a successor goes on behind them.
    again = rig.start("policy_node", "autostart:=true")
    sent = len(targets)
    wait_for(lambda: len(targets) > sent, what="an episode of the successor")
    again.end()
    blocks = rig.blocks()
    assert {block.info.boot_id for block in blocks} == {first.boot_id}
    ends = [record for block in blocks for record in block.records() if isinstance(record, EpisodeEnd)]
    numbers = [end.episode for end in ends]
    assert numbers == sorted(set(numbers))
    assert first.episode in numbers[:-1]
    assert ends[-1].outcome is OutcomeCode.ABORTED


def test_whoever_waits_is_answered_when_it_ends(rig: RobotRig, peer: Peer) -> None:
    rig.start_arm()
    node = rig.start("policy_node", "autostart:=true")
    states = peer.listen(EpisodeState, f"/{ROBOT}/episode_state", LATCHED)
    wait_for(lambda: "running" in [s.phase for s in states], what="an episode")
    waiting = peer.send(DrainRobot, f"/{ROBOT}/drain", DrainRobot.Request(drain=True, wait_s=300.0, who="ann"))
    wait_for(lambda: (rig.folder / "drained_here").exists(), what="the drain")
    node.end()
    assert peer.result(waiting).success


@pytest.mark.parametrize("library", ["numpy", "rmw_fastrtps_cpp", "floop_interfaces"])
def test_it_ends_at_once_while_it_starts(rig: RobotRig, library: str) -> None:
    node = rig.start("policy_node", "autostart:=true")
    wait_for(lambda: library in node.maps(), what=f"a process that has loaded {library}")
    node.end(statuses=(0, -signal.SIGINT))  # the latter before it has handlers of its own
