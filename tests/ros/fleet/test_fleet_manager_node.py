"""The fleet manager as a real node process: every service below /fleet, what it does and what it refuses."""

from __future__ import annotations

import contextlib
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from floop_robot.services.supervision.ros_domain import reserved_domain
from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces import msg, srv
from floop_robot.bundle import Bundle
from floop_robot.deploy.registry import Origin
from floop_robot.ros.fleet.fleet_services import MAX_WAITING
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import AUDIT, EVENTS, LATCHED
from floop_robot.spec.ids import Ids
from floop_robot.spec.verdict import Decision
from tests.support.in_process_fleet import verdict
from tests.support.operator_tokens import TOKEN, WHO
from tests.support.ros.fleet_rig import IDS, TASK, FleetRig, policy
from tests.support.ros.slow_zip import slow_zip
from tests.support.sample_bundles import make_bundle

ORDERS = {
    topics.PUSH_POLICY: (srv.PushPolicy, {"version": 1}),
    topics.ROLLBACK_POLICY: (srv.RollbackPolicy, {"to_version": 1}),
    topics.PIN_POLICY: (srv.PinPolicy, {"scope": "robot_1", "version": 1}),
    topics.HOLD_UPDATES: (srv.HoldUpdates, {"scope": "robot_1", "hold": True}),
    topics.DRAIN_ROBOT: (srv.DrainRobot, {"robot": "robot_1", "drain": True}),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetRig]:
    with reserved_domain() as domain:
        rig = FleetRig(tmp_path_factory.mktemp("fleet"), domain)
        try:
            rig.start_manager()
            rig.start_robots()
            yield rig
            rig.nodes[0].end()
        finally:
            rig.close()


@pytest.fixture
def fleet(running: FleetRig) -> FleetRig:
    """The fleet with no order in force."""
    for scope in ("fleet", "robot_1", "robot_2"):
        assert running.order(srv.HoldUpdates, topics.HOLD_UPDATES, scope=scope, hold=False).success
        assert running.order(srv.DrainRobot, topics.DRAIN_ROBOT, robot=scope, drain=False).success
    return running


def saved(rig: FleetRig, bundle: Bundle, name: str) -> str:
    path = rig.folder / name
    bundle.save(path)
    return str(path)


def push(rig: FleetRig, **fields: Any) -> Any:
    return rig.order(srv.PushPolicy, topics.PUSH_POLICY, **({"wait_s": 20.0} | fields))


def unchanged(rig: FleetRig, answer: Any, *words: str) -> None:
    """The answer is a refusal of one line that has these words."""
    assert not answer.success
    assert answer.message and "\n" not in answer.message
    for word in words:
        assert word in answer.message
    assert (answer.record.who, answer.record.what) == ("", "")
    assert getattr(answer, "version", 0) == 0


def test_a_bundle_is_pushed_to_all_and_the_answer_says_who_what_when_and_where(fleet: FleetRig) -> None:
    before = time.time()
    answer = push(fleet, bundle_path=saved(fleet, policy(1), "one.floop"), why="try it")
    assert answer.success, answer.message
    production = fleet.state().production_version
    assert answer.version == production
    assert answer.message == f"pushed v{production}; acting on it: robot_1, robot_2"
    record = answer.record
    assert (record.who, record.what, record.detail) == (WHO, f"pushed v{production}", "try it")
    assert record.version == production
    assert before <= record.stamp.sec + record.stamp.nanosec * 1e-9 <= time.time() and record.epoch == 1
    assert [(r.robot, r.version, r.target) for r in answer.robots] == [
        ("robot_1", production, production), ("robot_2", production, production)
    ]  # fmt: skip
    assert [robot.policy_buffer.acting for robot in fleet.robots] == [production] * 2  # acting already
    assert fleet.state().audit[-1].detail == "try it"


def test_a_call_repeated_with_its_id_has_one_effect(fleet: FleetRig) -> None:
    path = saved(fleet, policy(2), "two.floop")
    first = push(fleet, bundle_path=path, call_id="mine", wait_s=0.0)
    again = push(fleet, bundle_path=path, call_id="mine", wait_s=0.0)
    assert first.success and again.success
    assert (again.version, again.record) == (first.version, first.record)
    assert fleet.state().production_version == first.version


def test_a_version_is_pushed_again_and_rolled_back(fleet: FleetRig) -> None:
    before = push(fleet, bundle_path=saved(fleet, policy(3), "three.floop")).version
    answer = push(fleet, version=1)
    assert answer.success and answer.version == before + 1
    listed = fleet.ask(srv.ListPolicies, topics.LIST_POLICIES, last=1).policies[0]
    assert (listed.version, listed.restores, listed.origin) == (before + 1, 1, Origin.PUSH)
    back = fleet.order(srv.RollbackPolicy, topics.ROLLBACK_POLICY, wait_s=20.0, why="worse")
    assert (back.success, back.version) == (True, before + 2)
    assert back.message == f"rolled back to v{before}, published as v{before + 2}; acting on it: robot_1, robot_2"
    assert back.record.detail == "worse"
    fleet.acting(before + 2)
    named = fleet.order(srv.RollbackPolicy, topics.ROLLBACK_POLICY, to_version=1)
    assert named.success and fleet.client().fetch().manifest.sha256 == policy(0).manifest.sha256


def test_one_robot_gets_its_own_and_is_pinned(fleet: FleetRig) -> None:
    others = fleet.state().production_version
    answer = push(fleet, bundle_path=saved(fleet, policy(4), "four.floop"), scope="robot_2")
    assert answer.success and answer.message.endswith("acting on it: robot_2")
    by_name = {r.robot: r for r in answer.robots}
    assert (by_name["robot_2"].pin, by_name["robot_2"].held) == (answer.version, False)
    assert by_name["robot_1"].pin == 0 and by_name["robot_1"].version <= others
    assert fleet.state().production_version == others


def test_pin_unpin_hold_and_resume(fleet: FleetRig) -> None:
    pinned = fleet.order(srv.PinPolicy, topics.PIN_POLICY, scope="robot_1", version=1, wait_s=20.0)
    assert pinned.success and pinned.version > 0
    robot = next(r for r in pinned.robots if r.robot == "robot_1")
    assert (robot.pin, robot.version) == (pinned.version, pinned.version)
    pushed = push(fleet, bundle_path=saved(fleet, policy(5), "five.floop"))
    assert "acting on it: robot_2; pinned, so not following: robot_1 (v" in pushed.message
    ended = fleet.order(srv.PinPolicy, topics.PIN_POLICY, scope="robot_1", version=0)
    assert ended.success and ended.version == 0
    fleet.acting(fleet.state().production_version)
    held = fleet.order(srv.HoldUpdates, topics.HOLD_UPDATES, hold=True, why="audit today")
    assert held.success and held.record.detail == "audit today"
    assert fleet.state().held
    with fleet.client() as client:
        bundle = policy(6)
        client.submit(bundle, verdict(bundle, fleet.state().production_version))
    state = fleet.state()
    assert state.waiting_sha256 == policy(6).manifest.sha256 and state.accepted > 0
    resumed = fleet.order(srv.HoldUpdates, topics.HOLD_UPDATES, hold=False)
    assert resumed.success and not fleet.state().held


def test_a_robot_is_drained_and_works_again(fleet: FleetRig) -> None:
    answer = fleet.order(srv.DrainRobot, topics.DRAIN_ROBOT, robot="robot_1", drain=True, wait_s=20.0, why="pads")
    assert (answer.success, answer.idle) == (True, True)
    assert answer.message == "drained robot_1; idle: robot_1"
    assert [(r.robot, r.drained) for r in answer.robots] == [("robot_1", True), ("robot_2", False)]
    assert (fleet.robots[0].drained, fleet.robots[1].drained) == (True, False)
    back = fleet.order(srv.DrainRobot, topics.DRAIN_ROBOT, robot="robot_1", drain=False, wait_s=20.0)
    assert back.success and not back.idle and not fleet.robots[0].drained


def test_a_command_that_waits_keeps_neither_queries_nor_stops_nor_commands_waiting(fleet: FleetRig) -> None:
    robot = fleet.robots[0]
    robot.busy = True
    request = srv.DrainRobot.Request(robot="robot_1", drain=True, wait_s=20.0, who=WHO, token=TOKEN)
    waiting = fleet.peer.send(srv.DrainRobot, topics.DRAIN_ROBOT, request)
    wait_for(lambda: robot.drained, what="the order on the robot")
    began = time.monotonic()
    assert [r.drained for r in fleet.state().robots] == [True, False]
    # There is no safety node here: the answer says so soon enough.
    stop = fleet.ask(srv.StopFleet, topics.FLEET_STOP, who="visitor")
    assert stop.message.startswith("stopped none; pending at robot_1, robot_2: the stop is kept") and not stop.success
    held = fleet.order(srv.HoldUpdates, topics.HOLD_UPDATES, scope="robot_2", hold=True)
    assert held.success and [(r.drained, r.held) for r in held.robots] == [(True, False), (False, True)]
    assert time.monotonic() - began < 10.0 and not waiting.done()
    robot.busy, robot.idle = False, True
    answer = fleet.peer.result(waiting)
    assert (answer.success, answer.idle) == (True, True)


@contextlib.contextmanager
def slow_push(fleet: FleetRig, name: str) -> Iterator[Any]:
    """The future answer of a push whose file is being read for as long as this block lasts."""
    path = fleet.folder / name
    with slow_zip(path) as is_being_loaded:
        request = srv.PushPolicy.Request(sb3_zip_path=str(path), trust_sb3_zip=True, who=WHO, token=TOKEN, why=name)
        answer = fleet.peer.send(srv.PushPolicy, topics.PUSH_POLICY, request)
        is_being_loaded()
        yield answer


def test_a_push_whose_file_is_read_slowly_keeps_no_other_command_waiting(fleet: FleetRig) -> None:
    with slow_push(fleet, "slow.zip") as pushed:
        for hold in (True, False):
            assert fleet.order(srv.HoldUpdates, topics.HOLD_UPDATES, scope="robot_1", hold=hold).success
            assert fleet.order(srv.DrainRobot, topics.DRAIN_ROBOT, robot="robot_1", drain=hold).success
        assert not pushed.done()
    answer = fleet.peer.result(pushed, 60.0)
    assert answer.success and fleet.state().production_version == answer.version
    assert fleet.state().audit[-1].detail == "slow.zip"


def test_commands_are_carried_out_as_they_arrive(fleet: FleetRig) -> None:
    for number in range(10):
        given = {"scope": "robot_1", "who": WHO, "token": TOKEN, "why": str(number)}
        requests = [srv.HoldUpdates.Request(hold=hold, **given) for hold in (True, False)]
        sent = [fleet.peer.send(srv.HoldUpdates, topics.HOLD_UPDATES, request) for request in requests]
        assert all(fleet.peer.result(answer).success for answer in sent)
        assert not fleet.state().robots[0].held


def test_a_push_whose_file_is_slow_undoes_nothing_that_came_after_it(fleet: FleetRig) -> None:
    with slow_push(fleet, "stuck.zip") as pushed:
        assert push(fleet, version=1).success
        back = fleet.order(srv.RollbackPolicy, topics.ROLLBACK_POLICY, to_version=1)
        assert back.success
    unchanged(fleet, fleet.peer.result(pushed, 60.0), "not done", f"v{back.version}", f"rollback by {WHO}")
    assert fleet.state().production_version == back.version


def test_many_commands_that_wait_cost_no_more_than_one_and_beyond_a_bound_they_are_refused(fleet: FleetRig) -> None:
    robot, node = fleet.robots[0], Path(f"/proc/{fleet.nodes[0].process.pid}")
    robot.busy = True
    request = srv.DrainRobot.Request(robot="robot_1", drain=True, wait_s=200.0, who=WHO, token=TOKEN)
    threads = len(list((node / "task").iterdir()))
    open_files = len(list((node / "fd").iterdir()))
    for _ in range(MAX_WAITING + 6):
        last = fleet.peer.send(srv.DrainRobot, topics.DRAIN_ROBOT, request)
        fleet.state()
    unchanged(fleet, fleet.peer.result(last), f"{MAX_WAITING} calls wait", "wait_s 0")
    assert len(list((node / "task").iterdir())) <= threads + 2
    assert len(list((node / "fd").iterdir())) <= open_files + 2
    assert fleet.order(srv.HoldUpdates, topics.HOLD_UPDATES, scope="robot_2", hold=True).success  # it does not wait
    robot.busy, robot.idle = False, True
    again = {"robot": "robot_1", "drain": True, "wait_s": 20.0}
    wait_for(lambda: fleet.order(srv.DrainRobot, topics.DRAIN_ROBOT, **again).idle, what="a place for one that waits")


def test_what_cannot_be_done_is_one_line_and_changes_nothing(fleet: FleetRig) -> None:
    before = fleet.ask(srv.ListPolicies, topics.LIST_POLICIES)
    good = saved(fleet, policy(7), "seven.floop")
    other = Ids(contract="0123456789abcdef", limits=IDS.limits, reward=IDS.reward)
    wrong = saved(fleet, make_bundle(1, task=TASK, ids=other), "wrong.floop")
    cut = fleet.folder / "cut.floop"
    cut.write_bytes(Path(good).read_bytes()[:-100])
    unchanged(fleet, push(fleet, version=999), "v999", "the registry")
    unchanged(fleet, push(fleet, bundle_path=wrong), "0123456789abcdef", IDS.contract)
    unchanged(fleet, push(fleet, bundle_path=str(cut)), "cut.floop")
    unchanged(fleet, push(fleet, bundle_path=str(fleet.folder / "none.floop")), "none.floop", "check the path")
    pipe = fleet.folder / "pipe"
    os.mkfifo(pipe)
    unchanged(fleet, push(fleet, bundle_path=str(pipe)), "no regular file")
    unchanged(fleet, push(fleet, sb3_zip_path=str(pipe), trust_sb3_zip=True), "no regular file")
    unchanged(fleet, push(fleet), "exactly one")
    unchanged(fleet, push(fleet, version=1, bundle_path=good), "exactly one")
    unchanged(fleet, push(fleet, bundle_path=good, scope="robot_7"), "unknown robot 'robot_7'", "known: fleet, robot_1")
    zipped = str(fleet.folder / "model.zip")
    unchanged(fleet, push(fleet, sb3_zip_path=zipped), "no such file")
    with zipfile.ZipFile(fleet.folder / "theirs.zip", "w") as theirs:
        theirs.writestr("data", "{}"), theirs.writestr("policy.pth", "")
    unchanged(fleet, push(fleet, sb3_zip_path=theirs.filename), "which can run code")
    unchanged(fleet, push(fleet, sb3_zip_path=zipped, trust_sb3_zip=True), "no such file")
    roll, pin = (srv.RollbackPolicy, topics.ROLLBACK_POLICY), (srv.PinPolicy, topics.PIN_POLICY)
    hold, drain = (srv.HoldUpdates, topics.HOLD_UPDATES), (srv.DrainRobot, topics.DRAIN_ROBOT)
    unchanged(fleet, fleet.order(*roll, to_version=999), "v999")
    unchanged(fleet, fleet.order(*pin, scope="robot_7", version=1), "robot_7")
    unchanged(fleet, fleet.order(*pin, scope="robot_1", version=999), "v999")
    unchanged(fleet, fleet.order(*pin, version=1), "scope is empty")
    for beyond in (2**62 + 1, 2**64 - 1):
        unchanged(fleet, push(fleet, version=beyond), f"there is no v{beyond}")
        unchanged(fleet, fleet.order(*roll, to_version=beyond), f"there is no v{beyond}")
        unchanged(fleet, fleet.order(*pin, scope="robot_1", version=beyond), f"there is no v{beyond}")
    unchanged(fleet, fleet.order(*hold, scope="robot_7", hold=True), "robot_7")
    unchanged(fleet, fleet.order(*drain, robot="robot_7", drain=True), "robot_7")
    unchanged(fleet, fleet.order(*drain, drain=True), "robot is empty")
    after = fleet.ask(srv.ListPolicies, topics.LIST_POLICIES)
    assert (after.production_version, after.policies) == (before.production_version, before.policies)


@pytest.mark.parametrize("name", ORDERS)
def test_no_command_passes_without_its_token(fleet: FleetRig, name: str) -> None:
    kind, fields = ORDERS[name]
    before = fleet.state()
    for who, token in ((WHO, ""), (WHO, "guess"), ("bob", TOKEN), ("", TOKEN)):
        unchanged(fleet, fleet.order(kind, name, **(fields | {"who": who, "token": token})))
    unread = fleet.order(srv.PushPolicy, topics.PUSH_POLICY, bundle_path="/none.floop", token="guess")
    unchanged(fleet, unread, "no valid operator token")  # nothing is read for a stranger
    after = fleet.state()
    assert (after.production_version, list(after.audit)) == (before.production_version, list(before.audit))
    assert [(r.target, r.pin, r.held, r.drained) for r in after.robots] == [
        (r.target, r.pin, r.held, r.drained) for r in before.robots
    ]


def test_a_trusted_zip_becomes_a_version(fleet: FleetRig, tmp_path: Path) -> None:
    reason = "needs the extra `learn`"
    build = pytest.importorskip("floop_robot.learn.factory", reason=reason, exc_type=ImportError)
    from floop_robot.learn.export import save_zip
    from floop_robot.learn.spaces import PolicySpace
    from floop_robot.spec.hyperparameters import SacSettings

    space = PolicySpace.of(TASK)
    save_zip(build.build_sac(space, SacSettings(net_arch=(16, 16)), 1)[0], space, tmp_path / "model.zip")
    answer = push(fleet, sb3_zip_path=str(tmp_path / "model.zip"), trust_sb3_zip=True)
    assert answer.success, answer.message
    fleet.acting(answer.version)
    (tmp_path / "noise.zip").write_bytes(b"PK no zip")
    unchanged(fleet, push(fleet, sb3_zip_path=str(tmp_path / "noise.zip"), trust_sb3_zip=True), "stable-baselines3 zip")


def test_versions_and_verdicts_are_listed(fleet: FleetRig) -> None:
    bundle = policy(20)
    state = fleet.state()
    judged = verdict(bundle, state.production_version, Decision.REJECTED)
    with fleet.client() as client:
        client.submit(bundle, judged)
    listed = fleet.ask(srv.ListPolicies, topics.LIST_POLICIES, with_verdicts=True)
    assert listed.success and listed.message == f"{len(listed.policies)} versions"
    assert [p.version for p in listed.policies] == list(range(1, len(listed.policies) + 1))
    first = listed.policies[0]
    assert (first.origin, first.task, first.contract_id, first.algo) == ("baseline", TASK.id, IDS.contract, "sac")
    assert first.size_bytes > 1000 and first.published.sec > 0
    assert (listed.production_version, listed.baseline_version) == (state.production_version, 1)
    found = listed.verdicts[-1]
    assert (found.decision, found.candidate_sha256) == ("rejected", bundle.manifest.sha256)
    assert (found.reason, found.alpha, found.duration_s) == (judged.reason, judged.alpha, judged.duration_s)
    fewer = fleet.ask(srv.ListPolicies, topics.LIST_POLICIES, last=2)
    assert [p.version for p in fewer.policies] == [p.version for p in listed.policies[-2:]] and not fewer.verdicts


def test_state_audit_and_verdicts_are_published(fleet: FleetRig) -> None:
    states = fleet.peer.listen(msg.FleetState, topics.FLEET_STATE, LATCHED)
    audit = fleet.peer.listen(msg.AuditEntry, topics.FLEET_AUDIT, AUDIT)
    verdicts = fleet.peer.listen(msg.GateVerdict, topics.FLEET_VERDICT, EVENTS)
    wait_for(lambda: states, what="the latched state")
    assert states[0].task == TASK.id and [r.robot for r in states[0].robots] == ["robot_1", "robot_2"]
    node = fleet.peer.node
    wait_for(lambda: node.count_publishers(topics.FLEET_VERDICT) and node.count_publishers(topics.FLEET_AUDIT))
    bundle = policy(30)

    def submitted() -> bool:
        # Discovery is over when one arrives: what was published before is not repeated.
        with fleet.client() as client:
            client.submit(bundle, verdict(bundle, 1, Decision.INCONCLUSIVE, seed=time.time_ns() % 2**31))
        # The fleet is shared: what an earlier test submitted may arrive now.
        mine = verdicts and verdicts[-1].candidate_sha256 == bundle.manifest.sha256
        return bool(mine and audit and audit[-1].what == "submitted candidate")

    wait_for(submitted, what="a verdict and an audit entry")
    assert verdicts[-1].candidate_sha256 == bundle.manifest.sha256 and audit[-1].what == "submitted candidate"
    heard = len(states)
    answer = push(fleet, bundle_path=saved(fleet, policy(31), "aloud.floop"), why="aloud")
    wait_for(lambda: states[-1].production_version == answer.version, what="the new state")
    wait_for(lambda: any(entry.detail == "aloud" for entry in audit), what="the push in the audit")
    assert len(states) > heard
    stamps = [s.header.stamp.sec + s.header.stamp.nanosec * 1e-9 for s in states]
    assert stamps == sorted(stamps)
