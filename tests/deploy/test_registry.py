"""Versions on disk: they only grow, have one writer, and survive SIGKILL."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import InstallStage, Receipt
from floop_robot.deploy.registry import (
    BASELINE,
    FLEET,
    PRODUCTION,
    CandidateState,
    Directive,
    JournalPosition,
    LiveEpisode,
    Origin,
    Publication,
    Registry,
    RegistryFenced,
    check_registry,
    read_history,
)
from floop_robot.deploy.registry.registry import SUBMITTED
from floop_robot.durable.locks import LockHeld
from floop_robot.services.fleet_manager import REGISTRY_FILE
from floop_robot.spec.errors import StorageError, UnknownName
from floop_robot.spec.records import ActMode, OutcomeCode, Source
from floop_robot.spec.verdict import Decision, SuiteResult, Verdict
from tests.support.sample_bundles import make_bundle

WRITER = """
import sys
from pathlib import Path
from floop_robot.deploy.registry import Origin, Publication, Registry
from tests.support.sample_bundles import make_bundle
registry = Registry(Path(sys.argv[1]))
bundle = make_bundle()
print("ready", flush=True)
while True:
    info = registry.publish(Publication(bundle=bundle, origin=Origin.PUSH, who="writer"), 1)
    print(info.version, info.epoch, flush=True)
"""


def publication(seed: int = 0, origin: Origin = Origin.PUSH, **more) -> Publication:
    return Publication(bundle=make_bundle(seed), origin=origin, who="anna@bench", **more)


def verdict(bundle: Bundle, decision: Decision = Decision.ACCEPTED, incumbent: int = 1, seed: int = 7) -> Verdict:
    suite = SuiteResult(
        name="target",
        episodes=3,
        candidate_successes=0,
        incumbent_successes=0,
        candidate_interval=(0.0, 0.6),
        candidate_cycle_s=float("nan"),
        incumbent_cycle_s=float("nan"),
        candidate_interventions=0,
        limit_violations=0,
    )
    return Verdict(
        decision=decision,
        reason="because",
        candidate_sha256=bundle.manifest.sha256,
        incumbent_version=incumbent,
        suites=(suite,),
        seed=seed,
        alpha=0.05,
        duration_s=0.5,
    )


def seen(episode: int = 1) -> LiveEpisode:
    return LiveEpisode(
        robot="robot_1",
        boot_id="b",
        episode=episode,
        block=episode,
        source=Source.ROBOT,
        version=1,
        act_mode=ActMode.MEAN,
        outcome=OutcomeCode.SUCCESS,
        object_class="box",
        duration_s=1.5,
        steps=20,
        observed_ns=5,
    )


@pytest.fixture
def registry(tmp_path):
    opened = Registry(tmp_path / "registry.sqlite")
    yield opened
    opened.close()


def test_versions_grow_and_carry_bundle_lineage_and_audit(registry):
    first = registry.publish(publication(0, Origin.BASELINE), 10)
    second = registry.publish(publication(1, verdict=verdict(make_bundle(1)), decided_ns=15), 20)
    assert (first.version, second.version) == (1, 2)
    assert (first.replaces, second.replaces, second.decided_ns, second.gate_s) == (0, 1, 15, 0.5)
    assert (registry.alias(BASELINE), registry.alias(PRODUCTION)) == (1, 2)
    bundle = registry.bundle(2)
    assert (bundle.manifest.version, bundle.manifest.epoch) == (2, registry.epoch)
    assert bundle.manifest.certificate.reason == "because"
    assert bundle.tensors == make_bundle(1).tensors
    assert [(e.who, e.what, e.version) for e in registry.audit()] == [
        ("anna@bench", "published (baseline)", 1),
        ("anna@bench", "published (push)", 2),
    ]


def test_what_was_learned_descends_from_the_learner_s_version_before_whatever_acted_since(registry):
    abroad = make_bundle(0).with_version(version=7, epoch=3, parent=6, certificate=None)
    assert registry.publish(Publication(bundle=abroad, origin=Origin.BASELINE, who="anna"), 1).parent == 0
    learned = [registry.publish(publication(1, Origin.GATE), 2), registry.publish(publication(2, Origin.GATE), 3)]
    registry.publish(Publication(bundle=registry.bundle(2), origin=Origin.ROLLBACK, who="anna", restores=2), 4)
    pushed = registry.publish(publication(3), 5)
    learned.append(registry.publish(publication(4, Origin.GATE), 6))
    assert [(v.version, v.parent, v.replaces) for v in learned] == [(2, 1, 1), (3, 2, 2), (6, 3, 5)]
    assert pushed.parent == 0 and registry.bundle(6).manifest.parent == 3


def test_rollback_is_old_bytes_under_a_new_version(registry):
    registry.publish(publication(0), 1)
    registry.publish(publication(1), 2)
    back = registry.publish(Publication(bundle=registry.bundle(1), origin=Origin.ROLLBACK, who="anna", restores=1), 3)
    assert (back.version, back.restores, back.parent, back.sha256) == (3, 1, 1, registry.version(1).sha256)
    assert registry.bundle(3).tensors == registry.bundle(1).tensors


def test_the_file_itself_refuses_rewritten_history(registry):
    registry.publish(publication(), 1)
    other = sqlite3.connect(registry.path)
    for statement in (
        "UPDATE versions SET sha256 = 'x'",
        "DELETE FROM versions",
        "DELETE FROM audit",
        "UPDATE audit SET info = x'00'",
        "INSERT INTO versions VALUES (1, 'x', x'00', x'00')",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            other.execute(statement)
    other.close()


def test_unknown_version_names_the_nearest(registry):
    registry.publish(publication(), 1)
    with pytest.raises(UnknownName) as info:
        registry.version(11)
    assert "v11" in str(info.value) and "known: v1" in str(info.value)


def test_second_writer_is_refused_and_the_first_goes_on(registry):
    with pytest.raises(LockHeld) as info:
        Registry(registry.path)
    assert "\n" not in str(info.value) and str(registry.path) in str(info.value)
    assert registry.publish(publication(), 1).version == 1


def test_a_writer_that_was_taken_over_may_not_write(registry):
    other = sqlite3.connect(registry.path)  # as on a file system whose locks don't hold
    other.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
    other.commit()
    other.close()
    with pytest.raises(RegistryFenced):
        registry.publish(publication(), 1)
    assert registry.versions() == []


def test_epochs_grow_and_commands_survive_restarts(tmp_path):
    path = tmp_path / "registry.sqlite"
    first = Registry(path)
    first.publish(publication(), 1)
    first.publish(publication(1, scope="robot_2"), 2)
    first.set_directive(Directive(FLEET, hold=1), "anna", "held fleet", 3)
    epoch = first.epoch
    first.close()
    second = Registry(path)
    assert second.epoch == epoch + 1
    assert second.directive(FLEET).hold == 1
    assert (second.target("robot_1"), second.target("robot_2")) == (1, 2)
    second.close()


def test_submitting_twice_has_one_effect(registry):
    bundle = make_bundle(1)
    first, new = registry.submit(bundle, verdict(bundle), CandidateState.WAITING, "gate", 1)
    again, also_new = registry.submit(bundle, verdict(bundle), CandidateState.WAITING, "gate", 2)
    assert new and not also_new and again.received_ns == first.received_ns
    assert len(registry.candidates()) == 1
    registry.publish(Publication(bundle=bundle, origin=Origin.GATE, who="m", verdict=verdict(bundle)), 3)
    again, also_new = registry.submit(bundle, verdict(bundle), CandidateState.WAITING, "gate", 4)
    assert (again.state, again.version, also_new) == (CandidateState.PUBLISHED, 1, False)
    assert registry.waiting() is None


def test_the_latest_accepted_candidate_waits(registry):
    for seed in (1, 2):
        bundle = make_bundle(seed)
        registry.submit(bundle, verdict(bundle), CandidateState.WAITING, "gate", seed)
    rejected = make_bundle(3)
    registry.submit(rejected, verdict(rejected, Decision.REJECTED), CandidateState.REJECTED, "gate", 3)
    info, bundle = registry.waiting()
    assert bundle.tensors == make_bundle(2).tensors and info.state is CandidateState.WAITING
    states = [c.state for c in registry.candidates()]
    assert states == [CandidateState.SUPERSEDED, CandidateState.WAITING, CandidateState.REJECTED]
    assert registry.candidate_counts()[CandidateState.REJECTED, Decision.REJECTED] == 1


def test_receipts_and_episodes_count_once(registry):
    receipt = Receipt(robot="robot_1", version=1, stage=InstallStage.ACTING, since_received_s=0.01)
    assert registry.telemetry.record_receipt(receipt, 5)
    assert not registry.telemetry.record_receipt(receipt, 9)
    assert [r.stamp_ns for r in registry.telemetry.receipts(1)] == [5]
    assert registry.telemetry.receipts(2) == []
    assert registry.telemetry.record_episodes([seen(1), seen(2)], JournalPosition(4, "j")) == [seen(1), seen(2)]
    assert registry.telemetry.record_episodes([seen(2), seen(3)], JournalPosition(5, "j")) == [seen(3)]
    assert registry.telemetry.journal_position == JournalPosition(5, "j")


def test_a_version_refused_on_arrival_may_fail_later_and_both_are_stored(registry):
    arrival = Receipt(robot="robot_1", version=1, stage=InstallStage.REFUSED, since_received_s=0.01, detail="damaged")
    fall = Receipt(
        robot="robot_1", version=1, stage=InstallStage.REFUSED, since_received_s=9.0, detail="NaN", fallback_version=0
    )
    assert [registry.telemetry.record_receipt(receipt, 5) for receipt in (arrival, fall, fall)] == [True, True, False]
    assert [stored.receipt for stored in registry.telemetry.receipts(1)] == [arrival, fall]


def test_the_newest_stamp_of_all_rows_is_known(registry):
    assert registry.latest_ns() == 0
    registry.telemetry.record_episodes([seen()], JournalPosition(1, "j"))
    assert registry.latest_ns() == 5
    receipt = Receipt(robot="robot_1", version=1, stage=InstallStage.ACTING, since_received_s=0.01)
    registry.telemetry.record_receipt(receipt, 7)
    assert registry.latest_ns() == 7
    registry.note("ann", "looked", 9)
    assert registry.latest_ns() == 9


def test_changes_made_together_are_undone_together(registry):
    with pytest.raises(ZeroDivisionError), registry.transaction():
        registry.publish(publication(), 1)
        registry.store_command_result("call", b"answer", 1)
        raise ZeroDivisionError
    assert registry.versions() == [] and registry.stored_command_result("call") is None and registry.audit() == []


def test_history_can_be_read_beside_the_writer(registry):
    registry.publish(publication(), 1)
    registry.telemetry.record_episodes([seen()], JournalPosition(1, "j"))
    history = read_history(registry.path)
    assert (len(history.versions), history.episodes) == (1, (seen(),))
    registry.publish(publication(1), 2)
    assert len(read_history(registry.path).versions) == 2


def test_what_is_no_registry_is_one_line(tmp_path):
    (tmp_path / "text.sqlite").write_text("no database " * 500)
    for action in (Registry, read_history):
        with pytest.raises(StorageError) as info:
            action(tmp_path / "text.sqlite")
        assert "\n" not in str(info.value) and "text.sqlite" in str(info.value)
    with pytest.raises(StorageError):
        read_history(tmp_path / "missing.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Registry(tmp_path / "file" / "registry.sqlite")


def test_actions_are_listed_without_the_arrivals_of_candidates(registry):
    registry.note("ann", "held fleet", 1)
    with registry.transaction():
        for i in range(100):
            registry.note("gate", SUBMITTED, 2 + i)
    registry.note("bob", "resumed fleet", 200, detail=f"what{SUBMITTED}")
    registry.note("gate", SUBMITTED, 201)
    assert [entry.what for entry in registry.audited_actions(3)] == ["held fleet", "resumed fleet"]
    assert [entry.what for entry in registry.audited_actions(1)] == ["resumed fleet"]
    assert len(registry.audit()) == 103


def test_actions_are_listed_from_a_registry_of_an_earlier_release(registry, tmp_path):
    registry.note("ann", "held fleet", 1)
    registry.note("gate", SUBMITTED, 2)
    registry.close()
    with sqlite3.connect(registry.path) as database:
        database.executescript("DROP INDEX audited_actions; DROP TABLE row_checksums; PRAGMA user_version = 3")
    again = Registry(registry.path)
    assert [entry.what for entry in again.audited_actions(3)] == ["held fleet"]
    again.close()


def test_a_number_that_no_row_holds_is_one_line_and_leaves_what_was(registry):
    registry.publish(publication(), 1)
    with pytest.raises(StorageError, match="larger than any row"):
        registry.publish(publication(1), 2**70)
    assert len(registry.versions()) == 1


def test_full_disk_is_one_line_and_leaves_what_was(tmp_path):
    import resource

    registry = Registry(tmp_path / "registry.sqlite")
    registry.publish(publication(), 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(p.stat().st_size for p in tmp_path.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, hard))
    try:
        with pytest.raises(StorageError) as info:
            for seed in range(50):
                registry.publish(publication(seed), 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(info.value)
    before = len(registry.versions())
    assert registry.publish(publication(3), 3).version == before + 1
    for each in registry.versions():
        registry.bundle(each.version)
    registry.close()


def test_closing_twice_closes_nobody_elses_file(tmp_path):
    registry = Registry(tmp_path / "registry.sqlite")
    registry.close()
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    registry.close()
    for other in others:
        assert os.fstat(other).st_rdev == Path(os.devnull).stat().st_rdev, "its number was closed"
        os.close(other)


@pytest.mark.parametrize("kills", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_nothing_answered_is_lost_at_sigkill(tmp_path, kills):
    path = tmp_path / "registry.sqlite"
    rng = random.Random(1)
    answered: list[int] = []
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        assert process.stdout.readline() == "ready\n"
        for _ in range(rng.randint(1, 25)):
            answered.append(int(process.stdout.readline().split()[0]))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        answered += [int(line.split()[0]) for line in rest.splitlines() if len(line.split()) == 2]
    registry = Registry(path)
    versions = registry.versions()
    assert [v.version for v in versions] == list(range(1, len(versions) + 1))
    assert set(answered) <= {v.version for v in versions} and len(answered) == len(set(answered))
    assert registry.alias(PRODUCTION) == len(versions) == len(registry.audit(10_000))
    assert [v.epoch for v in versions] == sorted(v.epoch for v in versions)
    for each in versions[-3:]:
        assert registry.bundle(each.version).manifest.version == each.version
    registry.close()


@pytest.mark.parametrize("left", ["empty", "hot journal"])
def test_a_registry_that_was_not_finished_is_made_anew(tmp_path: Path, left: str) -> None:
    """Who dies while making a registry leaves it so; the next fleet manager goes on."""
    path = tmp_path / REGISTRY_FILE
    path.touch()
    if left == "hot journal":
        maker = f"""
import os, sqlite3
c = sqlite3.connect({str(path)!r}, isolation_level=None)
c.executescript("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE; CREATE TABLE t (x);")
for _ in range(200):
    c.execute("INSERT INTO t VALUES (zeroblob(9000))")
os.kill(os.getpid(), 9)
"""
        subprocess.run([sys.executable, "-c", maker], check=False)
        assert path.with_name(path.name + "-journal").stat().st_size > 0
    check_registry(path)
    with contextlib.closing(Registry(path)) as registry:
        assert registry.publish(publication(), 1).version == 1
    check_registry(path)
