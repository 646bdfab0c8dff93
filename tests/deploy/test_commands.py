"""Orders beyond versions for all: one robot alone, drain, tokens, remarks; what became of them, and of whom."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import msgspec
import pytest
from conditions import wait_for

from floop_robot.deploy.registry import FLEET, Directive, Origin, Receipt, Registry, Stage
from floop_robot.deploy.registry.registry import KEPT_CALLS
from floop_robot.robot.operators import OperatorTokens
from floop_robot.deploy import (
    Done,
    Drain,
    Fleet,
    FleetClient,
    FleetRefused,
    Hold,
    Pin,
    PolicyReceiver,
    Push,
    ReceiverConfig,
    Remark,
    Resume,
    Rollback,
)
from floop_robot.deploy.convergence import acting_on, drained
from floop_robot.deploy.messages import GetNews, GetRobots, Heartbeat, Refusal, Report, Submission
from floop_robot.spec.errors import StorageError
from floop_robot.spec.verdict import Decision
from tests.bundle.sample_bundles import IDS, TASK, make_bundle
from tests.deploy.in_process_fleet import CONFIG, ActingSlots, Episodes, ManagerThread, verdict

S = 1_000_000_000


class Office:
    """A fleet on disk that can be restarted."""

    def __init__(self, folder: Path, operators: OperatorTokens | None = None) -> None:
        self.path, self.now_ns, self.operators = folder / "registry.sqlite", S, operators
        self.episodes = Episodes()
        self.open()
        self.fleet.start_from(make_bundle(0))

    def open(self) -> None:
        self.registry = Registry(self.path)
        self.fleet = Fleet(self.registry, CONFIG, TASK, IDS, lambda: self.now_ns, self.operators)
        self.fleet.expect(["robot_1", "robot_2"])

    def restart(self) -> None:
        self.registry.close()
        self.open()

    def done(self, order) -> Done:
        answer = self.fleet.handle(order)
        assert isinstance(answer, Done), answer
        return answer

    def refused(self, order) -> str:
        """The one line of a refusal, after which nothing is different."""
        before = self.fleet.handle(GetNews()), self.fleet.handle(GetRobots()), self.registry.directives()
        answer = self.fleet.handle(order)
        assert isinstance(answer, Refusal), answer
        assert "\n" not in answer.reason
        assert (self.fleet.handle(GetNews()), self.fleet.handle(GetRobots()), self.registry.directives()) == before
        return answer.reason

    def live(self, version: int, outcomes: list[bool]) -> None:
        for success in outcomes:
            self.now_ns += S // 10
            made = self.episodes.make(version, success, seen_ns=self.now_ns)
            self.fleet.observe([made], self.episodes.read())

    def place(self) -> int:
        """Where the audit ends now."""
        return self.fleet.handle(GetNews()).audit_to

    def beat(self, robot: str = "robot_1", **fields):
        return self.fleet.handle(Heartbeat(robot=robot, boot_id="b", contract=IDS.contract, version=1, **fields))

    def robot(self, name: str = "robot_1"):
        return next(r for r in self.fleet.handle(GetRobots()).robots if r.robot == name)


@pytest.fixture
def office(tmp_path):
    made = Office(tmp_path)
    yield made
    made.registry.close()


def blob(seed: int) -> bytes:
    return make_bundle(seed).to_bytes()


def test_one_robot_gets_a_policy_of_its_own_and_keeps_it(office):
    pushed = office.done(Push(who="ann", bundle=blob(1), scope="robot_2", why="new gripper"))
    assert (pushed.version, pushed.why, pushed.epoch) == (2, "new gripper", office.registry.epoch)
    assert (office.robot("robot_1").target, office.robot("robot_2").target) == (1, 2)
    assert office.fleet.take_announcements()[-1].only == ("robot_2",)
    assert office.registry.version(2).origin is Origin.PUSH
    office.restart()
    office.done(Push(who="ann", bundle=blob(3)))
    assert (office.robot("robot_1").target, office.robot("robot_2").target) == (3, 2)
    office.done(Resume(who="ann", scope="robot_2"))
    assert office.robot("robot_2").target == 3


def test_a_version_can_be_pushed_again(office):
    office.done(Push(who="ann", bundle=blob(1)))
    again = office.done(Push(who="ann", version=1))
    assert (again.version, again.what) == (3, "pushed v3, the bytes of v1")
    assert office.registry.version(3).restores == 1
    assert office.registry.bundle(3).tensors == make_bundle(0).tensors
    # What was before the push is what acted then, not what was before those bytes.
    assert office.registry.version(office.done(Rollback(who="ann")).version).restores == 2
    assert "'v9'" in office.refused(Push(who="ann", version=9))
    assert "not both" in office.refused(Push(who="ann", version=1, bundle=blob(1)))
    assert "not both" in office.refused(Push(who="ann"))


@pytest.mark.parametrize("scope", [FLEET, "robot_1"])
def test_an_order_that_waited_undoes_none_for_the_same_robots_that_came_since(office, scope):
    for seed, later in enumerate(
        (
            Push(who="bob", bundle=blob(1), scope=scope),
            Pin(who="bob", scope=scope, version=1),
            Resume(who="bob", scope=scope),
            Hold(who="bob", scope=scope),
            Drain(who="bob", scope=scope),
            Resume(who="bob", scope=FLEET),
            Rollback(who="bob", version=1),
        )
    ):
        waited = Push(who="ann", bundle=blob(10 + seed), scope=scope, taken_at=office.place())
        also_waited = Push(who="ann", version=1, scope=scope, taken_at=office.place())
        done = office.done(later)
        assert office.refused(waited).startswith(f"not done: bob {done.what} at ")
        assert "not done: bob" in office.refused(also_waited)
        now = msgspec.structs.replace(waited, taken_at=office.place(), scope="robot_1")
        assert office.done(now) == office.done(msgspec.structs.replace(now, taken_at=0))  # it is known already


def test_orders_that_waited_follow_each_other_and_those_of_others(office):
    waited = [
        Push(who="ann", bundle=blob(seed), scope=scope, taken_at=office.place())
        for seed, scope in ((1, FLEET), (2, FLEET), (3, "robot_1"))
    ]
    office.done(Hold(who="bob", scope="robot_2"))
    office.done(Remark(who="bob", what="held fleet"))
    assert [office.done(order).version for order in waited] == [2, 3, 4]
    assert [office.robot(name).target for name in ("robot_1", "robot_2")] == [4, 1]


def test_an_order_that_waited_does_not_undo_what_the_watch_did(office):
    office.live(1, [True] * 30)
    office.done(Push(who="ann", bundle=blob(1)))
    waited = Push(who="ann", bundle=blob(2), taken_at=office.place())
    robot = Push(who="ann", bundle=blob(3), scope="robot_1", taken_at=office.place())
    office.live(2, [False] * 30)
    assert office.registry.versions()[-1].origin is Origin.ROLLBACK
    for order in (waited, robot):
        assert "not done: fleet manager rolled back to v1, published as v3 at " in office.refused(order)


def test_an_order_whose_place_is_in_another_registry_is_not_carried_out(office):
    office.done(Rollback(who="bob", version=1))
    waited = Push(who="ann", bundle=blob(2), taken_at=office.place() + 1)
    assert "not done: bob rolled back" in office.refused(waited)


def test_what_the_watch_did_not_do_stops_no_order(office, monkeypatch):
    """An order is undone, and with it the rollback that the watch made within its transaction."""
    office.live(1, [True] * 30)
    office.done(Push(who="ann", bundle=blob(1)))
    office.done(Pin(who="ann", scope=FLEET, version=2))
    office.live(2, [False] * 30)  # the fleet is pinned: nothing follows

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(office.registry, "remember_call", full)
        assert "full" in office.refused(Resume(who="bob", scope=FLEET))
    place = office.place()
    assert office.done(Push(who="ann", bundle=blob(3), scope="robot_1", taken_at=place)).version == 3


def test_an_order_that_is_on_disk_is_answered_as_done_whatever_can_be_read_afterwards(office, monkeypatch):
    office.done(Push(who="ann", bundle=blob(1)))
    waited = Push(who="ann", bundle=blob(2), taken_at=office.place())
    registry, together = office.registry, office.registry.together

    def fail(*_: object) -> None:
        raise StorageError("the disk cannot be read")

    @contextlib.contextmanager
    def then_fail():
        with together():
            yield
        monkeypatch.setattr(registry, "audit_after", fail)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "together", then_fail)
        assert office.done(Rollback(who="bob", version=1)).version == 3
    monkeypatch.undo()
    assert "not done: bob rolled back" in office.refused(waited)


def test_an_order_from_before_a_restart_is_not_carried_out(office):
    waited = Push(who="ann", bundle=blob(2), taken_at=office.place())
    office.done(Resume(who="bob", scope="robot_2"))
    office.restart()
    assert "not done: fleet manager started at " in office.refused(waited)


def test_unknown_robots_are_named_with_what_was_meant(office):
    for order in (
        Push(who="ann", bundle=blob(1), scope="robot_11"),
        Pin(who="ann", scope="robot_11", version=1),
        Hold(who="ann", scope="robot_11"),
        Resume(who="ann", scope="robot_11"),
        Drain(who="ann", scope="robot_11"),
    ):
        assert "did you mean 'robot_1'" in office.refused(order)


def test_a_pinned_robot_takes_a_push_of_its_own_while_the_fleet_is_pinned(office):
    office.done(Pin(who="ann", scope=FLEET, version=1))
    assert "resume" in office.refused(Push(who="ann", bundle=blob(1)))
    assert office.done(Push(who="ann", bundle=blob(1), scope="robot_1")).version == 2
    assert (office.robot("robot_1").target, office.robot("robot_2").target) == (2, 1)


def test_drain_is_told_with_every_heartbeat_and_outlives_hold_pin_and_restart(office):
    assert not office.beat().drain
    assert office.done(Drain(who="ann", scope="robot_1", why="gripper pads")).what == "drained robot_1"
    assert office.beat().drain and not office.beat("robot_2").drain
    office.done(Hold(who="ann", scope="robot_1"))
    office.done(Pin(who="ann", scope="robot_1", version=1))
    office.done(Push(who="ann", bundle=blob(2), scope="robot_1"))
    office.done(Resume(who="ann", scope="robot_1"))
    office.restart()
    assert office.beat().drain
    assert office.registry.directive("robot_1") == Directive("robot_1", drained=True)
    assert office.registry.audit()[-6].detail == "gripper pads"
    office.done(Drain(who="ann", scope="robot_1", drain=False))
    assert not office.beat().drain


def test_a_drained_fleet_lets_no_single_robot_work(office):
    office.done(Drain(who="ann", scope=FLEET))
    assert office.beat().drain and office.beat("robot_2").drain
    assert "whole fleet" in office.refused(Drain(who="ann", scope="robot_1", drain=False))
    office.done(Drain(who="ann", scope=FLEET, drain=False))
    assert not office.beat().drain


def test_robots_tell_what_they_do(office):
    office.now_ns += 2 * S
    office.beat(acting=1, idle=True, drained=True, estop=True)
    office.now_ns += S // 2
    robot = office.robot()
    assert (robot.acting, robot.idle, robot.drained, robot.estop) == (1, True, True, True)
    assert robot.silent_s == 0.5
    office.fleet.handle(Report(receipt=Receipt(robot="robot_1", version=2, stage=Stage.ACTING, since_received_s=0.1)))
    assert (office.robot().acting, office.robot().version) == (2, 2)  # before the next heartbeat
    made = [office.episodes.make(1, success, seen_ns=office.now_ns) for success in (True, False, True)]
    office.fleet.observe(made, office.episodes.read())
    office.fleet.observe(made, office.episodes.read())  # the journal is read again
    assert (office.robot().successes, office.robot().episodes) == (2, 3)


def test_what_was_written_since_can_be_asked_for_in_order(office):
    start = office.fleet.handle(GetNews())
    assert (start.audit, start.candidates) == ((), ())
    office.done(Hold(who="ann", scope=FLEET))
    office.done(Remark(who="bob", what="paused the learner", detail="sac", why="tests"))
    bundle = make_bundle(5)
    office.fleet.handle(Submission(who="gate", verdict=verdict(bundle, 1, Decision.REJECTED), bundle=bundle.to_bytes()))
    news = office.fleet.handle(GetNews(audit_after=start.audit_to, candidates_after=start.candidates_to))
    assert [(e.who, e.what) for e in news.audit] == [
        ("ann", "held fleet"), ("bob", "paused the learner"), ("gate", "submitted candidate")
    ]  # fmt: skip
    assert news.audit[1].detail == "sac; tests"
    assert [c.verdict.decision for c in news.candidates] == [Decision.REJECTED]
    after = office.fleet.handle(GetNews(audit_after=news.audit_to, candidates_after=news.candidates_to))
    assert (after.audit, after.candidates) == ((), ())
    assert (after.audit_to, after.candidates_to) == (news.audit_to, news.candidates_to)


def test_remarks_take_nothing_from_orders(office):
    """They need no token: none claims an order's id, or crowds one out."""
    office.done(Push(who="ann", bundle=blob(1)))
    office.done(Remark(who="eve", call_id="mine", what="rolled back to v1, published as v3"))
    back = office.done(Rollback(who="ann", call_id="mine", version=1))
    assert (back.version, office.robot().target) == (3, 3)
    for i in range(KEPT_CALLS + 1):
        office.fleet.handle(Remark(who="eve", call_id=str(i), what="was here"))
    assert office.done(Rollback(who="ann", call_id="mine", version=1)) == back
    before = office.place()
    remark = Remark(who="eve", what="was here")
    assert office.done(remark) == office.done(remark)
    assert office.place() == before + 1


def test_the_id_of_an_order_is_that_of_who_gave_it(office):
    office.done(Hold(who="ann", call_id="mine", scope=FLEET))
    assert "call_id mine is that of an order ann gave" in office.refused(Hold(who="bob", call_id="mine", scope=FLEET))


def test_an_order_needs_a_name_and_an_id(office):
    assert "who is empty" in office.refused(Hold(who=" ", scope=FLEET))
    assert "call_id is empty" in office.refused(Hold(who="ann", call_id="", scope=FLEET))
    assert "longer than 1000" in office.refused(Hold(who="ann", why="x" * 1001, scope=FLEET))
    assert "longer than 1000" in office.refused(Remark(who="ann", what="x" * 1001))


def test_where_tokens_are_asked_for_no_order_passes_without_one(tmp_path):
    path = tmp_path / "operators.yaml"
    path.write_text(f"tokens:\n  ann: {hashlib.sha256(b'secret').hexdigest()}\n")
    office = Office(tmp_path, OperatorTokens(path))
    orders = [
        (Push, {"bundle": blob(1)}), (Rollback, {}), (Pin, {"scope": FLEET, "version": 1}), (Hold, {"scope": FLEET}),
        (Resume, {"scope": FLEET}), (Drain, {"scope": "robot_1"}),
    ]  # fmt: skip
    for kind, fields in orders:
        for who, token in (("ann", ""), ("ann", "guess"), ("bob", "secret")):
            assert "no valid operator token" in office.refused(kind(who=who, token=token, **fields))
    office.done(Remark(who="safety", what="stopped"))  # changes nothing, and a stop must be written down
    first = office.done(Push(who="ann", token="secret", call_id="same", bundle=blob(1)))
    # Whoever repeats the call of another learns nothing without the token.
    assert "no valid operator token" in office.refused(Push(who="bob", call_id="same", bundle=blob(1)))
    assert office.done(Push(who="ann", token="secret", call_id="same", bundle=blob(1))) == first
    path.write_text("tokens: {}\n")
    assert "no valid operator token" in office.refused(Hold(who="ann", token="secret", scope=FLEET))
    office.registry.close()
    assert b"secret" not in (tmp_path / "registry.sqlite").read_bytes()


class Working:
    """Work of a robot whose episode a test ends."""

    def __init__(self) -> None:
        self.idle, self.estop, self.drained = False, False, False
        self.heard: list[bool] = []

    def obey(self, drain: bool) -> None:
        self.drained = drain
        self.heard.append(drain)


class DrainableRobot:
    def __init__(self, folder: Path, rpc: str, announcements: str) -> None:
        self.work, self.slots = Working(), ActingSlots()
        self.folder = folder / "robot_1"
        config = ReceiverConfig(
            robot="robot_1",
            boot_id="boot",
            announcements=announcements,
            rpc=rpc,
            folder=self.folder,
            heartbeat_s=CONFIG.heartbeat_s,
        )
        self.receiver = PolicyReceiver(config, TASK, IDS, self.slots, lambda _: None, self.work)
        self.receiver.start()

    def stop(self) -> None:
        self.receiver.stop()
        self.slots.stop()


def test_a_robot_drains_stays_so_without_its_manager_and_works_again(tmp_path):
    manager = ManagerThread(tmp_path)
    robot = DrainableRobot(tmp_path, manager.rpc, manager.announcements)
    with manager.client() as client:
        wait_for(lambda: client.robots().robots, what="the robot's heartbeat")
        client.drain("robot_1", why="pads")
        effect = drained(client, True, "robot_1", 0.3)
        assert effect.behind == ("robot_1",)  # its episode goes on
        wait_for(lambda: robot.work.heard == [True])
        robot.work.idle = True
        effect = drained(client, True, "robot_1", 10.0)
        assert (effect.there, effect.behind, effect.silent) == (("robot_1",), (), ())
        robot.stop()
        alone = DrainableRobot(tmp_path, "tcp://127.0.0.1:1", "tcp://127.0.0.1:1")
        assert alone.work.heard == [True]  # before anybody could tell it
        alone.stop()
        robot = DrainableRobot(tmp_path, manager.rpc, manager.announcements)
        client.drain("robot_1", False)
        wait_for(lambda: robot.work.heard == [True, False])
        assert not (robot.folder / "drained").exists()
        assert drained(client, False, "robot_1", 10.0).there == ("robot_1",)
    robot.stop()
    manager.stop()


def test_whoever_pushes_can_wait_until_robots_act(tmp_path):
    manager = ManagerThread(tmp_path)
    robot = DrainableRobot(tmp_path, manager.rpc, manager.announcements)
    with manager.client() as client:
        wait_for(lambda: client.robots().robots, what="the robot's heartbeat")
        done = client.push(make_bundle(1))
        effect = acting_on(client, done.version, FLEET, 10.0)
        assert effect.there == ("robot_1",) and robot.slots.first_step_s(done.version) is not None
        assert effect.text("acting on it", "not yet") == "acting on it: robot_1"
        robot.stop()
        done = client.push(make_bundle(2))
        assert acting_on(client, done.version, FLEET, 0.1).behind == ("robot_1",)
        wait_for(lambda: client.robots().robots[0].silent_s > 3.0)
        assert acting_on(client, done.version, FLEET, 60.0).silent == ("robot_1",)  # nobody waits for the silent
    with FleetClient(manager.rpc, "bob") as client, pytest.raises(FleetRefused, match="robot_9"):
        client.drain("robot_9")
    manager.stop()
