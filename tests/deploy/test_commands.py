"""Commands beyond versions for all: one robot alone, drain, tokens, notes; what came of them."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import pytest

from floop_robot.bundle.delivery import Heartbeat, InstallStage, Receipt, ReceiptReport, Refusal
from floop_robot.cli.status import _text
from floop_robot.deploy import (
    AuditNote,
    CommandResult,
    Drain,
    FleetRequestHandler,
    Hold,
    Pin,
    Push,
    Refused,
    Resume,
    Rollback,
)
from floop_robot.deploy.commands import GetScopeVersion
from floop_robot.deploy.convergence import Convergence
from floop_robot.deploy.messages import CandidateSubmission, GetNews, GetRobots
from floop_robot.deploy.registry import FLEET, Directive, Origin, Registry
from floop_robot.deploy.registry.registry import MAX_STORED_RESULTS
from floop_robot.robot.drain_state import DrainState
from floop_robot.robot.operators import OperatorTokens
from floop_robot.robot.policy_updater import PolicyUpdater, UpdaterConfig
from floop_robot.spec.errors import StorageError
from floop_robot.spec.verdict import Decision
from tests.support.in_process_fleet import CONFIG, ActingPolicyBuffer, Episodes, ManagerThread, OperatorClient, verdict
from tests.support.sample_bundles import IDS, TASK, make_bundle
from tests.support.waiting import wait_for

S = 1_000_000_000


class CommandHarness:
    """A fleet on disk that can be restarted."""

    def __init__(self, folder: Path, operators: OperatorTokens | None = None) -> None:
        self.path, self.now_ns, self.operators = folder / "registry.sqlite", S, operators or OperatorTokens(None)
        self.episodes = Episodes()
        self.open()
        self.fleet.publish_baseline(make_bundle(0))

    def open(self) -> None:
        self.registry = Registry(self.path)
        self.fleet = FleetRequestHandler(self.registry, CONFIG, TASK, IDS, lambda: self.now_ns, self.operators.refusal)
        self.fleet.register_robots(["robot_1", "robot_2"])

    def restart(self) -> None:
        self.registry.close()
        self.open()

    def done(self, command) -> CommandResult:
        answer = self.fleet.handle(command)
        assert isinstance(answer, CommandResult), answer
        return answer

    def refused(self, command) -> str:
        """The one line of a refusal, after which nothing is different."""
        before = self.fleet.handle(GetNews()), self.fleet.handle(GetRobots()), self.registry.directives()
        answer = self.fleet.handle(command)
        assert isinstance(answer, Refusal), answer
        assert "\n" not in answer.reason
        assert (self.fleet.handle(GetNews()), self.fleet.handle(GetRobots()), self.registry.directives()) == before
        return answer.reason

    def live(self, version: int, outcomes: list[bool]) -> None:
        for success in outcomes:
            self.now_ns += S // 10
            made = self.episodes.make(version, success, observed_ns=self.now_ns)
            self.fleet.observe([made], self.episodes.read())

    def audit_end(self) -> int:
        """The last row of the audit."""
        return self.fleet.handle(GetNews()).audit_to

    def version(self, scope: str) -> int:
        """The version that a scope is on."""
        answer = self.fleet.handle(GetScopeVersion(who="ann", token="secret", scope=scope))
        assert isinstance(answer, CommandResult), answer
        return answer.version

    def beat(self, robot: str = "robot_1", **fields):
        return self.fleet.handle(Heartbeat(robot=robot, boot_id="b", contract=IDS.contract, version=1, **fields))

    def robot(self, name: str = "robot_1"):
        return next(r for r in self.fleet.handle(GetRobots()).robots if r.robot == name)


@pytest.fixture
def harness(tmp_path):
    made = CommandHarness(tmp_path)
    yield made
    made.registry.close()


def acting(done: CommandResult) -> Convergence:
    return Convergence(Push(who="ann"), done)


def drained(drain: bool) -> Convergence:
    return Convergence(Drain(who="ann", scope="robot_1", drain=drain), CommandResult(who="", what="", stamp_ns=0))


def blob(seed: int) -> bytes:
    return make_bundle(seed).to_bytes()


def test_one_robot_gets_a_policy_of_its_own_and_keeps_it(harness):
    pushed = harness.done(Push(who="ann", bundle=blob(1), scope="robot_2", why="new gripper"))
    assert (pushed.version, pushed.detail, pushed.epoch) == (2, "new gripper", harness.registry.epoch)
    assert (harness.robot("robot_1").target, harness.robot("robot_2").target) == (1, 2)
    assert harness.fleet.take_announcements()[-1].only == ("robot_2",)
    assert harness.registry.version(2).origin is Origin.PUSH
    harness.restart()
    harness.done(Push(who="ann", bundle=blob(3)))
    assert (harness.robot("robot_1").target, harness.robot("robot_2").target) == (3, 2)
    harness.done(Resume(who="ann", scope="robot_2"))
    assert harness.robot("robot_2").target == 3


def test_corrections_of_perception_are_named_until_a_bundle_without_clears_them(harness):
    corrected = make_bundle(1).with_calibration({"robot_2": (0.0291, -0.0234, 0.0)})
    words = "robot_2 by (-29.1, +23.4, +0.0) mm"
    done = harness.done(Push(who="anna", call_id="a", bundle=corrected.to_bytes()))
    assert done.what == f"pushed v2; it corrects perceived positions of {words}"
    status = harness.fleet.status()
    assert f"v2 corrects perceived positions of {words}" in _text(status, Path("elsewhere"))
    harness.restart()
    assert harness.registry.version(2).calibration == {"robot_2": (0.0291, -0.0234, 0.0)}
    done = harness.done(Push(who="anna", call_id="b", bundle=make_bundle(1).to_bytes()))
    assert done.what == "pushed v3; it has no corrections of perceived positions, v2 had some"
    assert harness.fleet.status().calibration == {}
    assert harness.done(Push(who="anna", call_id="c", bundle=make_bundle(2).to_bytes())).what == "pushed v4"
    done = harness.done(Rollback(who="anna", call_id="d", version=2))
    assert done.what == f"rolled back to v2, published as v5; it corrects perceived positions of {words}"
    done = harness.done(Pin(who="anna", call_id="e", scope="robot_1", version=4))
    assert done.what == "pinned robot_1 to v4, as v6; it has no corrections of perceived positions, v5 had some"


def test_a_version_can_be_pushed_again(harness):
    harness.done(Push(who="ann", bundle=blob(1)))
    again = harness.done(Push(who="ann", version=1))
    assert (again.version, again.what) == (3, "pushed v3, the bytes of v1")
    assert harness.registry.version(3).restores == 1
    assert harness.registry.bundle(3).tensors == make_bundle(0).tensors
    # What was before the push is what acted then, not what was before those bytes.
    assert harness.registry.version(harness.done(Rollback(who="ann")).version).restores == 2
    assert "'v9'" in harness.refused(Push(who="ann", version=9))
    assert "not both" in harness.refused(Push(who="ann", version=1, bundle=blob(1)))
    assert "not both" in harness.refused(Push(who="ann"))


@pytest.mark.parametrize("scope", [FLEET, "robot_1"])
def test_a_command_is_refused_when_its_scope_is_on_another_version_by_then(harness, scope):
    for seed, later in enumerate(
        (
            Push(who="bob", bundle=blob(1), scope=scope),
            Pin(who="bob", scope=scope, version=1 if scope == FLEET else 2),
            Rollback(who="bob", version=2),
        )
    ):
        base = harness.version(scope)
        harness.done(later)
        now = harness.version(scope)
        assert now > base
        fields = {"who": "ann", "if_version": base, "scope": scope}
        for command in (
            Push(bundle=blob(10 + seed), **fields), Push(version=1, **fields), Pin(version=1, **fields),
            Hold(**fields), Resume(**fields), Drain(**fields),
        ):  # fmt: skip
            refusal = harness.refused(command)
            assert refusal.startswith(f"not done: {scope} is on v{now} now (")
            assert "by bob at " in refusal and f"not on v{base}; give the command again" in refusal
        harness.done(Resume(who="bob", scope=scope))


def test_a_repeated_command_is_known_whatever_version_robots_are_on(harness):
    push = Push(who="ann", bundle=blob(1), if_version=1)
    assert harness.done(push) == harness.done(push)
    assert harness.version(FLEET) == 2


def test_commands_for_other_robots_and_notes_change_no_version(harness):
    base = harness.version(FLEET)
    harness.done(Pin(who="bob", scope="robot_2", version=1))
    harness.done(Push(who="bob", bundle=blob(4), scope="robot_2"))
    harness.done(AuditNote(who="bob", what="pushed v9"))
    assert harness.done(Push(who="ann", bundle=blob(1), if_version=base)).version == 3
    assert harness.done(Drain(who="ann", scope="robot_2", if_version=2)).what == "drained robot_2"


def test_a_command_does_not_undo_a_rollback_of_the_monitor_that_it_does_not_know(harness):
    harness.live(1, [True] * 30)
    harness.done(Push(who="ann", bundle=blob(1)))
    fleet = Push(who="ann", bundle=blob(2), if_version=2)
    robot = Push(who="ann", bundle=blob(3), scope="robot_1", if_version=2)
    harness.live(2, [False] * 30)
    assert harness.registry.versions()[-1].origin is Origin.ROLLBACK
    for command in (fleet, robot):
        assert "is on v3 now (rollback by fleet manager at " in harness.refused(command)


def test_a_push_replaces_candidates_that_the_gate_published_since_but_no_other_command_does(harness):
    harness.done(Push(who="ann", bundle=blob(1)))
    harness.now_ns += 30 * S
    bundle = make_bundle(5)
    harness.fleet.handle(CandidateSubmission(who="gate", verdict=verdict(bundle, 2), bundle=bundle.to_bytes()))
    assert harness.registry.version(harness.version(FLEET)).origin is Origin.GATE
    for kind in (Rollback, Hold, Resume, Drain):
        assert "is on v3 now (gate by fleet manager at " in harness.refused(kind(who="ann", if_version=2))
    assert harness.done(Push(who="ann", bundle=blob(2), if_version=2)).version == 4
    assert "is on v4 now (push by ann at " in harness.refused(Push(who="bob", bundle=blob(3), if_version=2))


def test_a_rollback_that_was_undone_with_its_command_stops_no_other(harness, monkeypatch):
    """A command fails, and with it the rollback that the monitor made within its transaction."""
    harness.live(1, [True] * 30)
    harness.done(Push(who="ann", bundle=blob(1)))
    harness.done(Pin(who="ann", scope=FLEET, version=2))
    harness.live(2, [False] * 30)  # the fleet is pinned: nothing follows

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(harness.registry, "store_command_result", full)
        assert "full" in harness.refused(Resume(who="bob", scope=FLEET))
    assert harness.done(Push(who="ann", bundle=blob(3), scope="robot_1", if_version=2)).version == 3


def test_the_version_that_a_command_was_based_on_outlives_a_restart(harness):
    harness.done(Push(who="ann", bundle=blob(1)))
    same, other = Hold(who="ann", scope=FLEET, if_version=2), Hold(who="ann", scope=FLEET, if_version=1)
    harness.restart()
    assert harness.done(same).what == "held fleet on v2"
    assert "fleet is on v2 now (push by ann at " in harness.refused(other)


def test_a_rollback_is_for_the_whole_fleet(harness):
    assert "pin robot_1 to the older version" in harness.refused(Rollback(who="ann", scope="robot_1", version=1))


def test_a_rollback_leaves_bytes_that_were_pushed_twice(harness):
    harness.done(Push(who="ann", bundle=blob(1)))  # v2
    harness.done(Push(who="ann", bundle=blob(2)))  # v3
    harness.done(Push(who="ann", bundle=blob(2)))  # v4
    assert harness.done(Rollback(who="ann")).what.startswith("rolled back to v2")
    assert harness.done(Rollback(who="ann")).what.startswith("rolled back to v1")
    assert "the first policy of this fleet" in harness.refused(Rollback(who="ann"))


def test_unknown_robots_are_named_with_what_was_meant(harness):
    for command in (
        Push(who="ann", bundle=blob(1), scope="robot_11"),
        Pin(who="ann", scope="robot_11", version=1),
        Hold(who="ann", scope="robot_11"),
        Resume(who="ann", scope="robot_11"),
        Drain(who="ann", scope="robot_11"),
    ):
        assert "unknown robot 'robot_11'; known: fleet, robot_1" in harness.refused(command)


def test_a_pinned_robot_takes_a_push_of_its_own_while_the_fleet_is_pinned(harness):
    harness.done(Pin(who="ann", scope=FLEET, version=1))
    assert "resume" in harness.refused(Push(who="ann", bundle=blob(1)))
    assert harness.done(Push(who="ann", bundle=blob(1), scope="robot_1")).version == 2
    assert (harness.robot("robot_1").target, harness.robot("robot_2").target) == (2, 1)


def test_drain_is_in_every_heartbeat_answer_and_outlives_hold_pin_and_restart(harness):
    assert not harness.beat().drain
    assert harness.done(Drain(who="ann", scope="robot_1", why="gripper pads")).what == "drained robot_1"
    assert harness.beat().drain and not harness.beat("robot_2").drain
    harness.done(Hold(who="ann", scope="robot_1"))
    harness.done(Pin(who="ann", scope="robot_1", version=1))
    harness.done(Push(who="ann", bundle=blob(2), scope="robot_1"))
    harness.done(Resume(who="ann", scope="robot_1"))
    harness.restart()
    assert harness.beat().drain
    assert harness.registry.directive("robot_1") == Directive("robot_1", drained=True)
    assert harness.registry.audit()[-6].detail == "gripper pads"
    harness.done(Drain(who="ann", scope="robot_1", drain=False))
    assert not harness.beat().drain


def test_a_drained_fleet_lets_no_single_robot_work(harness):
    harness.done(Drain(who="ann", scope=FLEET))
    assert harness.beat().drain and harness.beat("robot_2").drain
    assert "whole fleet" in harness.refused(Drain(who="ann", scope="robot_1", drain=False))
    harness.done(Drain(who="ann", scope=FLEET, drain=False))
    assert not harness.beat().drain


def test_robots_tell_what_they_do(harness):
    harness.now_ns += 2 * S
    harness.beat(acting=1, idle=True, drained=True, estop=True)
    harness.now_ns += S // 2
    robot = harness.robot()
    assert (robot.acting, robot.idle, robot.drained, robot.estop) == (1, True, True, True)
    assert robot.silent_s == 0.5
    harness.fleet.handle(
        ReceiptReport(receipt=Receipt(robot="robot_1", version=2, stage=InstallStage.ACTING, since_received_s=0.1))
    )
    assert (harness.robot().acting, harness.robot().version) == (2, 2)  # before the next heartbeat
    made = [harness.episodes.make(1, success, observed_ns=harness.now_ns) for success in (True, False, True)]
    harness.fleet.observe(made, harness.episodes.read())
    harness.fleet.observe(made, harness.episodes.read())  # the journal is read again
    assert (harness.robot().successes, harness.robot().episodes) == (2, 3)


def test_what_was_written_since_can_be_asked_for_in_order(harness):
    start = harness.fleet.handle(GetNews())
    assert (start.audit, start.candidates) == ((), ())
    harness.done(Hold(who="ann", scope=FLEET))
    harness.done(AuditNote(who="bob", what="paused the learner", detail="sac", why="tests"))
    bundle = make_bundle(5)
    harness.fleet.handle(
        CandidateSubmission(who="gate", verdict=verdict(bundle, 1, Decision.REJECTED), bundle=bundle.to_bytes())
    )
    news = harness.fleet.handle(GetNews(audit_after=start.audit_to, candidates_after=start.candidates_to))
    assert [(e.who, e.what) for e in news.audit] == [
        ("ann", "held fleet"), ("bob", "paused the learner"), ("gate", "submitted candidate")
    ]  # fmt: skip
    assert news.audit[1].detail == "sac; tests"
    assert [c.verdict.decision for c in news.candidates] == [Decision.REJECTED]
    after = harness.fleet.handle(GetNews(audit_after=news.audit_to, candidates_after=news.candidates_to))
    assert (after.audit, after.candidates) == ((), ())
    assert (after.audit_to, after.candidates_to) == (news.audit_to, news.candidates_to)


def test_notes_take_nothing_from_commands(harness):
    """They need no token: none claims a command's id, or crowds one out."""
    harness.done(Push(who="ann", bundle=blob(1)))
    harness.done(AuditNote(who="eve", call_id="mine", what="rolled back to v1, published as v3"))
    back = harness.done(Rollback(who="ann", call_id="mine", version=1))
    assert (back.version, harness.robot().target) == (3, 3)
    for i in range(MAX_STORED_RESULTS + 1):
        harness.fleet.handle(AuditNote(who="eve", call_id=str(i), what="was here"))
    assert harness.done(Rollback(who="ann", call_id="mine", version=1)) == back
    before = harness.audit_end()
    note = AuditNote(who="eve", what="was here")
    assert harness.done(note) == harness.done(note)
    assert harness.audit_end() == before + 1


def test_the_id_of_a_command_is_that_of_who_gave_it(harness):
    harness.done(Hold(who="ann", call_id="mine", scope=FLEET))
    assert "call_id mine is that of a command ann gave" in harness.refused(Hold(who="bob", call_id="mine", scope=FLEET))


def test_a_command_needs_a_name_and_an_id(harness):
    assert "who is empty" in harness.refused(Hold(who=" ", scope=FLEET))
    assert "call_id is empty" in harness.refused(Hold(who="ann", call_id="", scope=FLEET))
    assert "longer than 1000" in harness.refused(Hold(who="ann", why="x" * 1001, scope=FLEET))
    assert "longer than 1000" in harness.refused(AuditNote(who="ann", what="x" * 1001))
    for forged in ("ann\n21:00  bob: pushed v9", "ann\x1b[2J", "ann\u2028bob"):
        assert "who holds a line break" in harness.refused(Hold(who=forged, scope=FLEET))
        assert "detail holds a line break" in harness.refused(AuditNote(who="ann", what="x", detail=forged))


def test_tokens_of_notes_fill_no_memory(harness):
    """Whoever has no token may write notes, and a token may have any length."""
    tracemalloc.start()
    for number in range(20):
        harness.done(AuditNote(who="eve", call_id=str(number), what="was here", token="x" * 2_000_000))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 5_000_000


def test_where_tokens_are_asked_for_no_command_passes_without_one(tmp_path):
    path = tmp_path / "operators.yaml"
    path.write_text(f"tokens:\n  ann: {hashlib.sha256(b'secret').hexdigest()}\n")
    harness = CommandHarness(tmp_path, OperatorTokens(path))
    commands = [
        (Push, {"bundle": blob(1)}), (Rollback, {}), (Pin, {"scope": FLEET, "version": 1}), (Hold, {"scope": FLEET}),
        (Resume, {"scope": FLEET}), (Drain, {"scope": "robot_1"}),
    ]  # fmt: skip
    assert harness.version(FLEET) == 1
    commands.append((GetScopeVersion, {}))
    for kind, fields in commands:
        for who, token in (("ann", ""), ("ann", "guess"), ("bob", "secret")):
            assert "no valid operator token" in harness.refused(kind(who=who, token=token, **fields))
    harness.done(AuditNote(who="safety", what="stopped"))  # changes nothing, and a stop must be written down
    first = harness.done(Push(who="ann", token="secret", call_id="same", bundle=blob(1)))
    # Whoever repeats the call of another learns nothing without the token.
    assert "no valid operator token" in harness.refused(Push(who="bob", call_id="same", bundle=blob(1)))
    assert harness.done(Push(who="ann", token="secret", call_id="same", bundle=blob(1))) == first
    path.write_text("tokens: {}\n")
    assert "no valid operator token" in harness.refused(Hold(who="ann", token="secret", scope=FLEET))
    harness.registry.close()
    assert b"secret" not in (tmp_path / "registry.sqlite").read_bytes()


class EndlessEpisode(DrainState):
    """The drains of a robot whose episode goes on until a test sets `idle`."""

    idle = False


class DrainableRobot:
    def __init__(self, folder: Path, rpc: str, announcements: str) -> None:
        self.policy_buffer = ActingPolicyBuffer()
        self.folder = folder / "robot_1"
        self.drain_state = EndlessEpisode(self.folder)
        config = UpdaterConfig(
            robot="robot_1",
            boot_id="boot",
            announcements=announcements,
            rpc=rpc,
            folder=self.folder,
            heartbeat_s=CONFIG.heartbeat_s,
        )
        self.updater = PolicyUpdater(config, TASK, IDS, self.policy_buffer, lambda _: None, self.drain_state)
        self.updater.start()

    def stop(self) -> None:
        self.updater.stop()
        self.policy_buffer.stop()


def test_a_robot_drains_stays_so_without_its_manager_and_works_again(tmp_path):
    manager = ManagerThread(tmp_path)
    robot = DrainableRobot(tmp_path, manager.rpc, manager.announcements)
    with manager.client() as client:
        wait_for(lambda: client.robots().robots, what="the robot's heartbeat")
        client.drain("robot_1", why="pads")
        found = client.wait_for(drained(True), 0.3)
        assert found.pending == ("robot_1",)  # its episode goes on
        wait_for(lambda: robot.drain_state.by_fleet_manager)
        robot.drain_state.idle = True
        found = client.wait_for(drained(True), 10.0)
        assert (found.reached, found.pending, found.silent) == (("robot_1",), (), ())
        robot.stop()
        alone = DrainableRobot(tmp_path, "tcp://127.0.0.1:1", "tcp://127.0.0.1:1")
        assert alone.drain_state.drained  # before it can reach the fleet manager
        alone.stop()
        robot = DrainableRobot(tmp_path, manager.rpc, manager.announcements)
        client.drain("robot_1", False)
        wait_for(lambda: not robot.drain_state.by_fleet_manager)
        assert not (robot.folder / "drained").exists()
        assert client.wait_for(drained(False), 10.0).reached == ("robot_1",)
    robot.stop()
    manager.stop()


def test_whoever_pushes_can_wait_until_robots_act(tmp_path):
    manager = ManagerThread(tmp_path)
    robot = DrainableRobot(tmp_path, manager.rpc, manager.announcements)
    with manager.client() as client:
        wait_for(lambda: client.robots().robots, what="the robot's heartbeat")
        done = client.push(make_bundle(1))
        found = client.wait_for(acting(done), 10.0)
        assert found.reached == ("robot_1",) and robot.policy_buffer.first_step_s(done.version) is not None
        assert found.text() == "acting on it: robot_1"
        robot.stop()
        done = client.push(make_bundle(2))
        assert client.wait_for(acting(done), 0.1).pending == ("robot_1",)
        wait_for(lambda: client.robots().robots[0].silent_s > 3.0)
        assert client.wait_for(acting(done), 60.0).silent == ("robot_1",)  # nobody waits for the silent
    with OperatorClient(manager.rpc, "bob") as client, pytest.raises(Refused, match="robot_9"):
        client.drain("robot_9")
    manager.stop()
