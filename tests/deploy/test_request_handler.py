"""What the fleet manager decides: real registry, no sockets, a clock that the test turns."""

from __future__ import annotations

import resource
import sqlite3

import pytest

from floop_robot.deploy.registry import FLEET, CandidateState, Origin, Receipt, Registry, RegistryFenced, Stage
from floop_robot.deploy.request_handler import Fleet
from floop_robot.deploy.messages import (
    Done,
    Heartbeat,
    Hold,
    Pin,
    Push,
    Refusal,
    Report,
    Resume,
    Rollback,
    Submission,
)
from floop_robot.spec.errors import StorageError
from floop_robot.spec.ids import Ids
from floop_robot.spec.verdict import Decision
from tests.bundle.sample_bundles import IDS, TASK, make_bundle
from tests.deploy.in_process_fleet import CONFIG, Episodes, verdict

S = 1_000_000_000


class Desk:
    """A fleet on disk that can be restarted."""

    def __init__(self, folder):
        self.path, self.now_ns, self.calls = folder / "registry.sqlite", S, 0
        self.episodes = Episodes()
        self._open()
        self.fleet.start_from(make_bundle(0))

    def _open(self):
        self.registry = Registry(self.path)
        self.fleet = Fleet(self.registry, CONFIG, TASK, IDS, lambda: self.now_ns)
        self.fleet.expect(["robot_1", "robot_2"])

    def restart(self):
        self.registry.close()
        self._open()

    def order(self, kind, call_id="", **fields):
        self.calls += 1
        return self.fleet.handle(kind(call_id=call_id or f"c{self.calls}", who="anna", **fields))

    def submit(self, seed, incumbent, decision=Decision.ACCEPTED):
        bundle = make_bundle(seed)
        return self.fleet.handle(
            Submission(who="gate", verdict=verdict(bundle, incumbent, decision), bundle=bundle.to_bytes())
        )

    def live(self, version, outcomes, object_class="box"):
        for success in outcomes:
            self.now_ns += S // 10
            made = self.episodes.make(version, success, object_class=object_class, seen_ns=self.now_ns)
            self.fleet.observe([made], self.episodes.read())

    def target(self, robot="robot_1"):
        beat = Heartbeat(robot=robot, boot_id="b", contract=IDS.contract, version=0)
        return self.fleet.handle(beat).version


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.registry.close()


def test_an_accepted_candidate_follows_at_once(desk):
    answer = desk.submit(1, incumbent=1)
    assert (answer.state, answer.version, answer.new) == (CandidateState.PUBLISHED, 2, True)
    assert desk.target() == 2
    assert [a.version for a in desk.fleet.take_announcements()] == [1, 2]
    again = desk.submit(1, incumbent=1)
    assert (again.state, again.version, again.new) == (CandidateState.PUBLISHED, 2, False)
    assert len(desk.registry.versions()) == 2 and desk.fleet.take_announcements() == []


def test_refused_candidates_change_nothing(desk):
    assert desk.submit(1, 1, Decision.REJECTED).state is CandidateState.REJECTED
    assert desk.submit(2, 1, Decision.INCONCLUSIVE).state is CandidateState.INCONCLUSIVE
    assert desk.submit(3, 99).state is CandidateState.STALE
    status = desk.fleet.status()
    assert (status.production, status.accepted, status.rejected, status.inconclusive) == (1, 1, 1, 1)


def test_verdict_of_another_candidate_is_refused(desk):
    bundle = make_bundle(1)
    answer = desk.fleet.handle(
        Submission(who="gate", verdict=verdict(make_bundle(2)), bundle=bundle.to_bytes())
    )
    assert isinstance(answer, Refusal) and "\n" not in answer.reason
    assert desk.registry.candidates() == []


def test_the_next_waits_until_the_watched_one_is_confirmed(desk):
    desk.live(1, [True] * 10 + [False] * 8)
    desk.submit(1, 1)
    assert desk.submit(2, 2).state is CandidateState.WAITING
    assert desk.submit(3, 2).state is CandidateState.WAITING
    assert desk.target() == 2
    desk.live(2, [True] * 30)
    assert desk.target() == 3
    assert desk.registry.bundle(3).tensors == make_bundle(3).tensors  # the latest, not the first
    states = [c.state for c in desk.registry.candidates()]
    assert states == [CandidateState.PUBLISHED, CandidateState.SUPERSEDED, CandidateState.PUBLISHED]
    assert desk.fleet.status().confirmed == (2,)


def test_the_next_follows_without_a_verdict_when_time_is_over(desk):
    desk.submit(1, 1)
    desk.submit(2, 2)
    desk.now_ns += int(CONFIG.watch_s * S) - 1
    desk.fleet.tick()
    assert desk.target() == 2
    desk.now_ns += 2
    desk.fleet.tick()
    assert desk.target() == 3


def test_the_next_need_not_wait_for_one_that_will_not_be_confirmed(desk):
    desk.live(1, [True] * 12 + [False] * 28)
    desk.submit(1, 1)
    desk.submit(2, 2)
    desk.live(2, [True, False])
    assert desk.target() == 2
    desk.live(2, [True, False, False] * 15)
    assert desk.target() == 3
    assert desk.registry.version(3).origin is Origin.GATE and desk.fleet.status().confirmed == ()


def refusal(version, fell_to=None):
    return Report(
        receipt=Receipt(
            robot="robot_1",
            version=version,
            stage=Stage.REFUSED,
            since_received_s=0.0,
            detail="NaN",
            fell_to=fell_to,
        )
    )


def test_a_version_that_answered_nan_while_it_acted_is_left_at_once(desk):
    desk.live(1, [True] * 40)
    desk.submit(1, 1)
    desk.live(2, [True] * 30)
    assert desk.fleet.status().confirmed == (2,)
    desk.fleet.handle(refusal(2))  # refused on arrival: its bytes, not what it does
    assert desk.target() == 2
    for _ in range(2):  # receipts are repeated until they are answered
        desk.fleet.handle(refusal(2, fell_to=1))
    versions = desk.registry.versions()
    assert [(v.origin, v.restores) for v in versions[2:]] == [(Origin.ROLLBACK, 1)]
    desk.order(Push, version=2)  # somebody insists
    desk.restart()
    desk.fleet.tick()
    assert desk.target() == 4


def test_a_manager_that_died_after_the_refusal_goes_back_when_it_is_there_again(desk):
    desk.submit(1, 1)
    desk.registry.field.record_receipt(refusal(2, fell_to=1).receipt, desk.now_ns)
    desk.restart()
    desk.fleet.tick()
    assert desk.registry.versions()[-1].restores == 1


def test_a_version_that_was_refused_on_arrival_first_is_left_after_a_restart_as_well(desk):
    desk.submit(1, 1)
    desk.fleet.handle(refusal(2))  # damaged on its way, and fetched again
    desk.order(Pin, scope=FLEET, version=2)
    desk.fleet.handle(refusal(2, fell_to=1))
    desk.restart()
    desk.order(Resume, scope=FLEET)
    desk.fleet.tick()
    assert desk.registry.versions()[-1].restores == 1


def test_a_pinned_fleet_stays_on_a_version_that_answered_nan(desk):
    desk.submit(1, 1)
    desk.order(Pin, scope=FLEET, version=2)
    pinned = desk.target()
    desk.fleet.handle(refusal(pinned, fell_to=2))
    assert desk.target() == pinned


def test_a_stale_waiting_candidate_is_dropped_after_a_rollback(desk):
    desk.live(1, [True] * 40)
    desk.submit(1, 1)
    desk.submit(2, 2)
    desk.live(2, [False] * 12)
    versions = desk.registry.versions()
    assert [(v.origin, v.restores) for v in versions[2:]] == [(Origin.ROLLBACK, 1)]
    assert desk.registry.candidates()[-1].state is CandidateState.STALE
    assert desk.registry.bundle(3).tensors == make_bundle(0).tensors
    assert desk.target() == 3


def test_harm_rolls_back_forward_and_is_audited(desk):
    desk.live(1, [True] * 40)
    desk.submit(1, 1)
    desk.live(2, [False] * 12)
    assert desk.target() == 3
    entry = desk.registry.audit()[-1]
    assert (entry.who, entry.version) == ("fleet manager", 3)
    assert "40 of 40" in entry.detail
    assert desk.submit(4, 3).state is CandidateState.PUBLISHED  # the loop goes on


def test_a_decision_cut_off_by_a_kill_is_taken_after_the_restart(desk):
    desk.live(1, [True] * 40)
    desk.submit(1, 1)
    bad = [desk.episodes.make(2, False, seen_ns=desk.now_ns + i) for i in range(12)]
    desk.registry.field.record_episodes(bad, desk.episodes.read())  # stored; killed before it was acted on
    desk.restart()
    desk.fleet.tick()
    assert desk.target() == 3 and desk.registry.version(3).origin is Origin.ROLLBACK


def test_the_watch_survives_a_restart(desk):
    desk.live(1, [True] * 40)
    desk.submit(1, 1)
    desk.submit(2, 2)
    desk.live(2, [True, False, True, False])
    before = desk.fleet.status()
    desk.restart()
    after = desk.fleet.status()
    assert after.watch == before.watch and after.watched_s == before.watched_s
    assert after.waiting == before.waiting != ""
    assert after.live == before.live


def test_hold_stops_what_follows_and_resume_lets_it_go(desk):
    assert isinstance(desk.order(Hold, scope=FLEET), Done)
    desk.restart()
    assert desk.submit(1, 1).state is CandidateState.WAITING
    assert desk.target() == 1
    desk.order(Resume, scope=FLEET)
    assert desk.target() == 2


def test_operators_roll_back_step_by_step(desk):
    desk.order(Push, bundle=make_bundle(1).to_bytes(), why="try")
    desk.order(Push, bundle=make_bundle(2).to_bytes())
    first = desk.order(Rollback)
    assert first.version == 4 and desk.registry.version(4).restores == 2
    second = desk.order(Rollback)
    assert second.version == 5 and desk.registry.bundle(5).tensors == make_bundle(0).tensors
    third = desk.order(Rollback)
    assert isinstance(third, Refusal)
    assert "v5 has the bytes of v1, the first policy of this fleet; name the version to go back to" in third.reason
    chosen = desk.order(Rollback, version=3)
    assert chosen.version == 6 and desk.registry.bundle(6).tensors == make_bundle(2).tensors
    assert "'v6'" in desk.order(Rollback, version=66).reason


def test_a_repeated_order_has_one_effect(desk):
    blob = make_bundle(1).to_bytes()
    first = desk.order(Push, call_id="same", bundle=blob)
    desk.restart()
    assert desk.order(Push, call_id="same", bundle=blob) == first
    assert len(desk.registry.versions()) == 2
    assert [e.what for e in desk.registry.audit()].count("published (push)") == 1


def test_pinned_robot_stays_while_the_fleet_goes_on(desk):
    desk.submit(1, 1)
    desk.fleet.take_announcements()
    pinned = desk.order(Pin, scope="robot_2", version=1)
    assert pinned.version == 3 and (desk.target("robot_1"), desk.target("robot_2")) == (2, 3)
    assert [a.only for a in desk.fleet.take_announcements()] == [("robot_2",)]
    desk.restart()
    desk.order(Push, bundle=make_bundle(5).to_bytes())
    assert (desk.target("robot_1"), desk.target("robot_2")) == (4, 3)
    assert desk.fleet.take_announcements()[-1].but == ("robot_2",)
    desk.order(Resume, scope="robot_2")
    assert desk.target("robot_2") == desk.target("robot_1") == 4


def test_resume_never_asks_a_robot_to_go_back(desk):
    desk.submit(1, 1)
    desk.order(Pin, scope="robot_2", version=1)
    desk.order(Resume, scope="robot_2")
    assert desk.target("robot_2") == desk.target("robot_1") == 4 > 3
    assert desk.registry.bundle(4).tensors == make_bundle(1).tensors
    assert desk.fleet.status().watch.version == 2  # the same weights go on being watched


def test_pinned_fleet_stays_whatever_comes(desk):
    desk.live(1, [True] * 40)
    desk.submit(1, 1)
    desk.order(Pin, scope=FLEET, version=2)
    desk.live(2, [False] * 30)
    assert desk.submit(2, 2).state is CandidateState.WAITING
    for answer in (desk.order(Rollback), desk.order(Push, bundle=make_bundle(3).to_bytes())):
        assert isinstance(answer, Refusal) and "resume" in answer.reason
    assert desk.target() == 2


def test_held_robot_keeps_its_version(desk):
    desk.order(Hold, scope="robot_1")
    desk.submit(1, 1)
    assert (desk.target("robot_1"), desk.target("robot_2")) == (1, 2)
    answer = desk.order(Hold, scope="robot_9")
    assert isinstance(answer, Refusal) and "did you mean" in answer.reason


def test_a_bundle_that_does_not_fit_is_refused_before_it_is_published(desk):
    other = Ids(contract="0123456789abcdef", limits=IDS.limits, reward=IDS.reward)
    wrong = desk.order(Push, bundle=make_bundle(1, ids=other).to_bytes())
    assert isinstance(wrong, Refusal)
    assert other.contract in wrong.reason and IDS.contract in wrong.reason
    assert isinstance(desk.order(Push, bundle=make_bundle(1).to_bytes()[:-5]), Refusal)
    assert desk.target() == 1 and len(desk.registry.versions()) == 1


def test_tightened_limits_are_shown_not_refused(desk):
    other = Ids(contract=IDS.contract, limits="tighter", reward=IDS.reward)
    answer = desk.order(Push, bundle=make_bundle(1, ids=other).to_bytes())
    assert isinstance(answer, Done) and "tighter" in answer.what


def test_a_full_disk_changes_nothing_and_passes(desk, tmp_path):
    size = max(p.stat().st_size for p in tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        refused = [desk.order(Push, call_id="one", bundle=make_bundle(1).to_bytes()) for _ in range(3)]
        with pytest.raises(StorageError):
            desk.live(1, [True] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(isinstance(answer, Refusal) and "\n" not in answer.reason for answer in refused)
    assert desk.target() == 1 and len(desk.fleet.take_announcements()) == 0
    assert desk.order(Push, call_id="one", bundle=make_bundle(1).to_bytes()).version == 2
    assert desk.target() == 2


def test_a_fleet_manager_that_was_taken_over_stops(desk):
    other = sqlite3.connect(desk.path)
    other.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
    other.commit()
    other.close()
    with pytest.raises(RegistryFenced):
        desk.order(Push, bundle=make_bundle(1).to_bytes())
