"""Whose word counts: verdicts of the site's gate, receipts of the robot that they speak of."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.bundle.delivery import (
    Heartbeat,
    InstallStage,
    NameRefusal,
    Receipt,
    ReceiptAck,
    ReceiptReport,
    Refusal,
    RobotHost,
    Target,
)
from floop_robot.deploy import FleetRequestHandler, SubmissionResult
from floop_robot.deploy.messages import REQUESTS, CandidateSubmission, Reply
from floop_robot.deploy.peer_secrets import PeerSecrets, site_secret
from floop_robot.deploy.registry import Registry
from floop_robot.deploy.request_handler import FORGOTTEN_AFTER_S, MAX_AHEAD, MAX_ROBOTS
from floop_robot.durable.framing import MessageRefused, deframe_message, frame_message
from floop_robot.durable.known_secrets import KnownSecrets
from floop_robot.durable.secret_file import shared_secret
from floop_robot.spec.errors import StorageError
from tests.support.in_process_fleet import CONFIG, Episodes, S, verdict
from tests.support.sample_bundles import IDS, TASK, make_bundle

OWN, OTHER = "a" * 64, "b" * 64


class Guarded:
    """A fleet manager that asks for secrets, and a clock that the test turns."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now_ns, self.episodes = folder, S, Episodes()
        self.registry = Registry(folder / "registry.sqlite")
        self.start()
        self.fleet.publish_baseline(make_bundle(0))

    def start(self) -> None:
        secrets = PeerSecrets(self.folder)
        self.fleet = FleetRequestHandler(
            self.registry, CONFIG, TASK, IDS, lambda: self.now_ns, secrets=secrets, other_notes=lambda: ("of ingest",)
        )
        self.fleet.register_robots(["robot_1"])

    def beat(self, robot: str = "robot_1", secret: str = OWN, **fields: object) -> Reply:
        beat = Heartbeat(robot=robot, boot_id="b", contract=IDS.contract, version=1, secret=secret)
        return self.fleet.handle(msgspec.structs.replace(beat, **fields))

    def harm(self, secret: str, robot: str = "robot_1") -> Reply:
        """What rolls a fleet back: v2 answered with NaN."""
        receipt = Receipt(
            robot=robot,
            version=2,
            stage=InstallStage.REFUSED,
            since_received_s=0.0,
            detail="NaN",
            fallback_version=1,
        )
        return self.fleet.handle(ReceiptReport(receipt=receipt, secret=secret))

    def episodes_of(self, robot: str, version: int, success: bool) -> None:
        """Thirty episodes, one second each."""
        for _ in range(30):
            self.now_ns += S
            made = self.episodes.make(version, success, robot=robot, observed_ns=self.now_ns)
            self.fleet.observe([made], self.episodes.read())

    def submit(self, secret: str) -> Reply:
        bundle = make_bundle(1)
        return self.fleet.handle(
            CandidateSubmission(who="gate", verdict=verdict(bundle), bundle=bundle.to_bytes(), secret=secret)
        )


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    yield made
    made.registry.close()


def test_a_verdict_without_the_sites_secret_publishes_nothing(guarded: Guarded) -> None:
    for secret in ("", OTHER, site_secret(guarded.folder)[:-1]):
        refused = guarded.submit(secret)
        assert isinstance(refused, Refusal) and "without this site's secret" in refused.reason
    status = guarded.fleet.status()
    assert status.production == 1
    assert status.notes[0].startswith("a verdict of 'gate' was refused") and status.notes[0].endswith("(3 times)")
    assert status.notes[-1] == "of ingest"
    accepted = guarded.submit(site_secret(guarded.folder))
    assert isinstance(accepted, SubmissionResult) and guarded.fleet.status().production == 2


def test_a_forged_receipt_rolls_nothing_back_even_while_the_robot_is_away(guarded: Guarded) -> None:
    assert isinstance(guarded.beat(), Target)
    guarded.submit(site_secret(guarded.folder))
    guarded.now_ns += 3600 * S
    for secret in ("", OTHER):
        assert isinstance(guarded.harm(secret), NameRefusal)
        assert isinstance(guarded.beat(secret=secret), NameRefusal)
    guarded.start()  # it is remembered over a restart
    assert isinstance(guarded.harm(OTHER), NameRefusal)
    assert guarded.fleet.status().production == 2
    assert isinstance(guarded.harm(OWN), ReceiptAck)
    assert guarded.fleet.status().production == 3  # v1's bytes again


def test_a_stranger_under_a_name_of_its_own_is_served_and_moves_nothing(guarded: Guarded) -> None:
    guarded.beat()
    guarded.episodes_of("robot_1", 1, True)
    guarded.submit(site_secret(guarded.folder))
    assert isinstance(guarded.beat("mallory", OTHER, version=50, epoch=9), Target)
    assert isinstance(guarded.harm(OTHER, "mallory"), ReceiptAck)
    guarded.episodes_of("mallory", 2, False)
    assert guarded.fleet.status().production == 2 and len(guarded.registry.versions()) == 2
    assert any("mallory is no robot of this fleet's configuration" in each for each in guarded.fleet.status().notes)
    guarded.episodes_of("robot_1", 2, False)
    assert guarded.fleet.status().production == 3  # v1 again


def test_notes_of_strangers_are_one_line_each_and_do_not_fill_the_log(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    guarded.beat()
    for number in range(50):
        guarded.beat(secret=OTHER, host=RobotHost(id="x", name=f"host {number}\n\x1b[2Jall is well"))
    notes = guarded.fleet.status().notes
    assert len(notes) <= 20 and all(note.isprintable() for note in notes)
    assert len(caplog.records) < 5


def test_a_robot_whose_folder_was_lost_comes_back_when_its_old_secret_is_deleted(guarded: Guarded) -> None:
    guarded.beat()
    refused = guarded.beat(secret=OTHER)
    assert isinstance(refused, NameRefusal)
    path = guarded.folder / "secrets" / "robots" / "robot_1"
    assert str(path) in refused.reason and "\n" not in refused.reason
    path.unlink()
    assert isinstance(guarded.beat(secret=OTHER), Target)
    assert isinstance(guarded.beat(), NameRefusal)


def test_an_older_robot_without_a_secret_is_served_until_it_shows_one(guarded: Guarded) -> None:
    assert isinstance(guarded.beat(secret=""), Target)
    assert isinstance(guarded.beat(), Target)
    assert isinstance(guarded.beat(secret=""), NameRefusal)


def test_made_up_names_make_room_and_leave_nothing_behind(guarded: Guarded) -> None:
    guarded.beat()
    for number in range(2 * MAX_ROBOTS):
        guarded.beat(f"nobody_{number}")
    status = guarded.fleet.status()
    assert len(status.robots) == MAX_ROBOTS and any("other names are not shown" in note for note in status.notes)
    guarded.now_ns += round(FORGOTTEN_AFTER_S * S)
    for number in range(MAX_ROBOTS):
        guarded.beat(f"later_{number}")
    names = {robot.robot for robot in guarded.fleet.robot_statuses()}
    assert "robot_1" in names and len(names) == MAX_ROBOTS
    assert sum(name.startswith("later_") for name in names) == MAX_ROBOTS - 1
    assert list(guarded.registry.robot_hosts()) == ["robot_1"]
    assert [path.name for path in (guarded.folder / "secrets" / "robots").iterdir()] == ["robot_1"]


def test_receipts_of_versions_that_never_were_do_not_fill_the_table(guarded: Guarded) -> None:
    for number in range(2, 400):
        receipt = Receipt(robot="robot_1", version=number, stage=InstallStage.RECEIVED, since_received_s=0.0)
        assert isinstance(guarded.fleet.handle(ReceiptReport(receipt=receipt, secret=OWN)), ReceiptAck)
    assert max(each.receipt.version for each in guarded.registry.telemetry.receipts()) == 1 + MAX_AHEAD


@pytest.mark.parametrize(
    "fields",
    [{"robot": "x" * 65}, {"robot": "../x"}, {"robot": "a b"}, {"robot": "a\n"}, {"robot": ""}, {"contract": "x" * 65},
     {"boot_id": "x" * 65}, {"secret": "x" * 129}, {"sha256": "x" * 65}, {"host": RobotHost("x" * 65, "")},
     {"host": RobotHost("x", "host\n\x1b[2J")}],
    ids=str,
)  # fmt: skip
def test_long_and_odd_strings_are_no_message(fields: dict[str, object]) -> None:
    beat = Heartbeat(robot="robot_1", boot_id="b", contract="c", version=1)
    assert deframe_message(frame_message(beat), REQUESTS) == beat
    with pytest.raises(MessageRefused):
        deframe_message(frame_message(msgspec.structs.replace(beat, **fields)), REQUESTS)


def test_a_full_disk_keeps_no_robot_out_and_a_file_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    known = KnownSecrets(tmp_path / "robots")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        assert known.refusal("robot_1", OWN) == ""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert known.refusal("robot_1", OWN) == "" and known.refusal("robot_1", OTHER) != ""
    (tmp_path / "robots" / "robot_1").unlink()
    (tmp_path / "robots" / "robot_1").mkdir()
    with pytest.raises(StorageError, match="robot_1: Is a directory"):
        known.refusal("robot_1", OTHER)
    assert known.refusal("robot_1", OWN) == ""


@pytest.mark.parametrize("held", [b"", b"short", b"x" * 129, bytes(64), b"\xff" * 64, b"word " * 20 + b"\nword" * 3])
def test_a_file_that_holds_no_secret_is_one_line(tmp_path: Path, held: bytes) -> None:
    (tmp_path / "secret").write_bytes(held)
    with pytest.raises(StorageError, match=r"secret holds no secret \(32 to 128 .* delete it"):
        shared_secret(tmp_path / "secret")


def test_a_copied_secret_that_others_can_read_becomes_the_owners(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "secret"
    path.write_text(OWN + "\n")
    path.chmod(0o644)
    assert shared_secret(path) == OWN == shared_secret(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [record.message for record in caplog.records] == [
        f"{path} could be read by others (mode 644); now by this user alone"
    ]


def test_all_who_ask_at_once_get_one_secret_that_only_its_owner_reads(tmp_path: Path) -> None:
    path, found = tmp_path / "new" / "secret", list[str]()
    threads = [threading.Thread(target=lambda: found.append(shared_secret(path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 16 and len(found[0]) == 64
    assert path.stat().st_mode & 0o777 == 0o600 and [each.name for each in path.parent.iterdir()] == ["secret"]
    path.write_text("")
    with pytest.raises(StorageError, match="holds no secret"):
        shared_secret(path)
