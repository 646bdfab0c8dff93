"""What the fleet manager decides: real registry, no sockets, a clock that the test turns."""

from __future__ import annotations

import resource
import sqlite3

import pytest

from floop_robot.bundle.delivery import InstallStage, Receipt, ReceiptReport, Refusal
from floop_robot.deploy.commands import CommandResult, Hold, Pin, Push, Resume, Rollback
from floop_robot.deploy.messages import CandidateSubmission
from floop_robot.deploy.registry import FLEET, CandidateState, Origin, RegistryFenced
from floop_robot.spec.errors import StorageError
from floop_robot.spec.ids import Ids
from floop_robot.spec.verdict import Decision
from tests.support.in_process_fleet import CONFIG, FleetHarness, S, verdict
from tests.support.sample_bundles import IDS, make_bundle


@pytest.fixture
def harness(tmp_path):
    made = FleetHarness(tmp_path)
    yield made
    made.registry.close()


def test_an_accepted_candidate_follows_at_once(harness):
    answer = harness.submit(1, incumbent=1)
    assert (answer.state, answer.version, answer.new) == (CandidateState.PUBLISHED, 2, True)
    assert harness.target() == 2
    assert [a.version for a in harness.fleet.take_announcements()] == [1, 2]
    again = harness.submit(1, incumbent=1)
    assert (again.state, again.version, again.new) == (CandidateState.PUBLISHED, 2, False)
    assert len(harness.registry.versions()) == 2 and harness.fleet.take_announcements() == []


def test_refused_candidates_change_nothing(harness):
    assert harness.submit(1, 1, Decision.REJECTED).state is CandidateState.REJECTED
    assert harness.submit(2, 1, Decision.INCONCLUSIVE).state is CandidateState.INCONCLUSIVE
    assert harness.submit(3, 99).state is CandidateState.STALE
    status = harness.fleet.status()
    assert (status.production, status.accepted, status.rejected, status.inconclusive) == (1, 1, 1, 1)


def test_verdict_of_another_candidate_is_refused(harness):
    bundle = make_bundle(1)
    answer = harness.fleet.handle(
        CandidateSubmission(who="gate", verdict=verdict(make_bundle(2)), bundle=bundle.to_bytes())
    )
    assert isinstance(answer, Refusal) and "\n" not in answer.reason
    assert harness.registry.candidates() == []


NEARLY = [True] * 5
"""Episodes that take a version more than halfway to its confirmation, and not there."""


def test_a_better_version_does_not_wait_for_the_watch_of_the_one_before(harness):
    harness.live(1, [True] * 10 + [False] * 8)
    harness.submit(1, 1)
    assert harness.submit(2, 2).state is CandidateState.PUBLISHED
    harness.live(3, [True, False])
    assert harness.submit(3, 3).state is CandidateState.PUBLISHED
    harness.live(4, [True] * 30)
    assert harness.fleet.status().confirmed == (4,)


def test_a_better_version_waits_while_robots_seem_to_do_worse(harness):
    harness.live(1, [True] * 40)
    harness.submit(1, 1)
    harness.live(2, [True, False, False])
    assert harness.submit(2, 2).state is CandidateState.WAITING
    harness.live(2, [True] * 2)
    assert harness.target() == 3


def test_a_rollback_goes_to_the_last_proven_version_and_so_does_its_reference(harness):
    harness.live(1, [True] * 40)
    for seed in (1, 2):  # v2 is replaced before anybody could know how it does
        assert harness.submit(seed, seed).state is CandidateState.PUBLISHED
    harness.live(3, [True, False])
    before = harness.fleet.status()
    assert [(c.reference.successes, c.reference.episodes) for c in before.watch.classes] == [(40, 40)]
    harness.restart()
    assert harness.fleet.status().watch == before.watch
    harness.live(3, [False] * 12)
    assert [(v.origin, v.restores) for v in harness.registry.versions()[3:]] == [(Origin.ROLLBACK, 1)]


@pytest.mark.parametrize("proof", ["confirmed", "tried"])
def test_a_rollback_passes_over_no_proven_version(harness, proof):
    harness.live(1, [True] * 20 + [True, False] * 10)
    harness.submit(1, 1)
    harness.live(2, [True] * 12 if proof == "confirmed" else [True, True, True, False] * 3)
    assert harness.fleet.status().confirmed == ((2,) if proof == "confirmed" else ())
    harness.submit(2, 2)
    harness.live(3, [False] * 12)
    assert [(v.origin, v.restores) for v in harness.registry.versions()[3:]] == [(Origin.ROLLBACK, 2)]


def test_time_without_an_episode_proves_no_version(harness):
    harness.live(1, [True] * 40)
    harness.submit(1, 1)
    harness.now_ns += int(5 * CONFIG.watch_s * S)  # robots are held, or stopped
    harness.submit(2, 2)
    harness.live(3, [False] * 12)
    assert [(v.origin, v.restores) for v in harness.registry.versions()[3:]] == [(Origin.ROLLBACK, 1)]


def test_the_next_waits_until_the_watched_one_is_confirmed(harness):
    harness.live(1, [True] * 10 + [False] * 8)
    harness.submit(1, 1)
    harness.live(2, NEARLY)
    assert harness.submit(2, 2).state is CandidateState.WAITING
    assert harness.submit(3, 2).state is CandidateState.WAITING
    assert harness.target() == 2
    harness.live(2, [True] * 30)
    assert harness.target() == 3
    assert harness.registry.bundle(3).tensors == make_bundle(3).tensors  # the latest, not the first
    states = [c.state for c in harness.registry.candidates()]
    assert states == [CandidateState.PUBLISHED, CandidateState.SUPERSEDED, CandidateState.PUBLISHED]
    assert harness.fleet.status().confirmed == (2,)


def test_the_next_follows_without_a_verdict_when_time_is_over(harness):
    published_ns = harness.now_ns
    harness.submit(1, 1)
    harness.live(2, NEARLY)
    harness.submit(2, 2)
    harness.now_ns = published_ns + int(CONFIG.watch_s * S) - 1
    harness.fleet.tick()
    assert harness.target() == 2
    harness.now_ns += 2
    harness.fleet.tick()
    assert harness.target() == 3


def test_the_next_need_not_wait_for_one_that_will_not_be_confirmed(harness):
    harness.live(1, [True] * 12 + [False] * 28)
    harness.submit(1, 1)
    harness.live(2, NEARLY)
    harness.submit(2, 2)
    assert harness.target() == 2
    harness.live(2, [True, False, False] * 15)
    assert harness.target() == 3
    assert harness.registry.version(3).origin is Origin.GATE and harness.fleet.status().confirmed == ()


def refusal(version, fallback_version=None):
    return ReceiptReport(
        receipt=Receipt(
            robot="robot_1",
            version=version,
            stage=InstallStage.REFUSED,
            since_received_s=0.0,
            detail="NaN",
            fallback_version=fallback_version,
        )
    )


def test_a_version_that_answered_nan_while_it_acted_is_left_at_once(harness):
    harness.live(1, [True] * 40)
    harness.submit(1, 1)
    harness.live(2, [True] * 30)
    assert harness.fleet.status().confirmed == (2,)
    harness.fleet.handle(refusal(2))  # refused on arrival: its bytes, not what it does
    assert harness.target() == 2
    for _ in range(2):  # receipts are repeated until they are answered
        harness.fleet.handle(refusal(2, fallback_version=1))
    versions = harness.registry.versions()
    assert [(v.origin, v.restores) for v in versions[2:]] == [(Origin.ROLLBACK, 1)]
    harness.command(Push, version=2)  # somebody insists
    harness.restart()
    harness.fleet.tick()
    assert harness.target() == 4


def test_a_manager_that_died_after_the_refusal_goes_back_when_it_is_there_again(harness):
    harness.submit(1, 1)
    harness.registry.telemetry.record_receipt(refusal(2, fallback_version=1).receipt, harness.now_ns)
    harness.restart()
    harness.fleet.tick()
    assert harness.registry.versions()[-1].restores == 1


def test_a_version_that_was_refused_on_arrival_first_is_left_after_a_restart_as_well(harness):
    harness.submit(1, 1)
    harness.fleet.handle(refusal(2))  # damaged on its way, and fetched again
    harness.command(Pin, scope=FLEET, version=2)
    harness.fleet.handle(refusal(2, fallback_version=1))
    harness.restart()
    harness.command(Resume, scope=FLEET)
    harness.fleet.tick()
    assert harness.registry.versions()[-1].restores == 1


def test_a_pinned_fleet_stays_on_a_version_that_answered_nan(harness):
    harness.submit(1, 1)
    harness.command(Pin, scope=FLEET, version=2)
    pinned = harness.target()
    harness.fleet.handle(refusal(pinned, fallback_version=2))
    assert harness.target() == pinned


def test_a_stale_waiting_candidate_is_dropped_after_a_rollback(harness):
    harness.live(1, [True] * 40)
    harness.submit(1, 1)
    harness.live(2, [True, False, False])
    harness.submit(2, 2)
    harness.live(2, [False] * 12)
    versions = harness.registry.versions()
    assert [(v.origin, v.restores) for v in versions[2:]] == [(Origin.ROLLBACK, 1)]
    assert harness.registry.candidates()[-1].state is CandidateState.STALE
    assert harness.registry.bundle(3).tensors == make_bundle(0).tensors
    assert harness.target() == 3


def test_harm_rolls_back_forward_and_is_audited(harness):
    harness.live(1, [True] * 40)
    harness.submit(1, 1)
    harness.live(2, [False] * 12)
    assert harness.target() == 3
    entry = harness.registry.audit()[-1]
    assert (entry.who, entry.version) == ("fleet manager", 3)
    assert "40 of 40" in entry.detail
    assert harness.submit(4, 3).state is CandidateState.PUBLISHED  # the loop goes on


def test_a_decision_cut_off_by_a_kill_is_taken_after_the_restart(harness):
    harness.live(1, [True] * 40)
    harness.submit(1, 1)
    bad = [harness.episodes.make(2, False, observed_ns=harness.now_ns + i) for i in range(12)]
    harness.registry.telemetry.record_episodes(bad, harness.episodes.read())  # stored; killed before it was acted on
    harness.restart()
    harness.fleet.tick()
    assert harness.target() == 3 and harness.registry.version(3).origin is Origin.ROLLBACK


def test_the_watch_survives_a_restart(harness):
    harness.live(1, [True] * 40)
    harness.submit(1, 1)
    harness.live(2, [True, False, False])
    harness.submit(2, 2)
    before = harness.fleet.status()
    harness.restart()
    after = harness.fleet.status()
    assert after.watch == before.watch and after.watched_s == before.watched_s
    assert after.waiting == before.waiting != ""
    assert after.live == before.live


def test_hold_stops_what_follows_and_resume_lets_it_go(harness):
    assert isinstance(harness.command(Hold, scope=FLEET), CommandResult)
    harness.restart()
    assert harness.submit(1, 1).state is CandidateState.WAITING
    assert harness.target() == 1
    harness.command(Resume, scope=FLEET)
    assert harness.target() == 2


def test_operators_roll_back_step_by_step(harness):
    harness.command(Push, bundle=make_bundle(1).to_bytes(), why="try")
    harness.command(Push, bundle=make_bundle(2).to_bytes())
    first = harness.command(Rollback)
    assert first.version == 4 and harness.registry.version(4).restores == 2
    second = harness.command(Rollback)
    assert second.version == 5 and harness.registry.bundle(5).tensors == make_bundle(0).tensors
    third = harness.command(Rollback)
    assert isinstance(third, Refusal)
    assert "v5 has the bytes of v1, the first policy of this fleet; name the version to go back to" in third.reason
    chosen = harness.command(Rollback, version=3)
    assert chosen.version == 6 and harness.registry.bundle(6).tensors == make_bundle(2).tensors
    assert "known: v1, v2, v3, v4, v5, v6" in harness.command(Rollback, version=66).reason


def test_a_repeated_command_has_one_effect(harness):
    blob = make_bundle(1).to_bytes()
    first = harness.command(Push, call_id="same", bundle=blob)
    harness.restart()
    assert harness.command(Push, call_id="same", bundle=blob) == first
    assert len(harness.registry.versions()) == 2
    assert [e.what for e in harness.registry.audit()].count("published (push)") == 1


def test_pinned_robot_stays_while_the_fleet_goes_on(harness):
    harness.submit(1, 1)
    harness.fleet.take_announcements()
    pinned = harness.command(Pin, scope="robot_2", version=1)
    assert pinned.version == 3 and (harness.target("robot_1"), harness.target("robot_2")) == (2, 3)
    assert [a.only for a in harness.fleet.take_announcements()] == [("robot_2",)]
    harness.restart()
    harness.command(Push, bundle=make_bundle(5).to_bytes())
    assert (harness.target("robot_1"), harness.target("robot_2")) == (4, 3)
    assert harness.fleet.take_announcements()[-1].but == ("robot_2",)
    harness.command(Resume, scope="robot_2")
    assert harness.target("robot_2") == harness.target("robot_1") == 4


def test_resume_never_asks_a_robot_to_go_back(harness):
    harness.submit(1, 1)
    harness.command(Pin, scope="robot_2", version=1)
    harness.command(Resume, scope="robot_2")
    assert harness.target("robot_2") == harness.target("robot_1") == 4 > 3
    assert harness.registry.bundle(4).tensors == make_bundle(1).tensors
    assert harness.fleet.status().watch.version == 2  # the same weights go on being watched


def test_a_pinned_fleet_stays_on_its_version(harness):
    harness.live(1, [True] * 40)
    harness.submit(1, 1)
    harness.command(Pin, scope=FLEET, version=2)
    harness.live(2, [False] * 30)
    assert harness.submit(2, 2).state is CandidateState.WAITING
    for answer in (harness.command(Rollback), harness.command(Push, bundle=make_bundle(3).to_bytes())):
        assert isinstance(answer, Refusal) and "resume" in answer.reason
    assert harness.target() == 2


def test_held_robot_keeps_its_version(harness):
    harness.command(Hold, scope="robot_1")
    harness.submit(1, 1)
    assert (harness.target("robot_1"), harness.target("robot_2")) == (1, 2)
    answer = harness.command(Hold, scope="robot_9")
    assert isinstance(answer, Refusal) and "; known: fleet, robot_1" in answer.reason


def test_a_bundle_that_does_not_fit_is_refused_before_it_is_published(harness):
    other = Ids(contract="0123456789abcdef", limits=IDS.limits, reward=IDS.reward)
    wrong = harness.command(Push, bundle=make_bundle(1, ids=other).to_bytes())
    assert isinstance(wrong, Refusal)
    assert other.contract in wrong.reason and IDS.contract in wrong.reason
    assert isinstance(harness.command(Push, bundle=make_bundle(1).to_bytes()[:-5]), Refusal)
    assert harness.target() == 1 and len(harness.registry.versions()) == 1


def test_tightened_limits_are_shown_not_refused(harness):
    other = Ids(contract=IDS.contract, limits="tighter", reward=IDS.reward)
    answer = harness.command(Push, bundle=make_bundle(1, ids=other).to_bytes())
    assert isinstance(answer, CommandResult) and "tighter" in answer.what


def test_a_full_disk_changes_nothing_and_passes(harness, tmp_path):
    size = max(p.stat().st_size for p in tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        refused = [harness.command(Push, call_id="one", bundle=make_bundle(1).to_bytes()) for _ in range(3)]
        with pytest.raises(StorageError):
            harness.live(1, [True] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(isinstance(answer, Refusal) and "\n" not in answer.reason for answer in refused)
    assert harness.target() == 1 and len(harness.fleet.take_announcements()) == 0
    assert harness.command(Push, call_id="one", bundle=make_bundle(1).to_bytes()).version == 2
    assert harness.target() == 2


def test_a_fleet_manager_that_was_taken_over_stops(harness):
    other = sqlite3.connect(harness.path)
    other.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
    other.commit()
    other.close()
    with pytest.raises(RegistryFenced):
        harness.command(Push, bundle=make_bundle(1).to_bytes())
