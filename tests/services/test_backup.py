"""Backup beside a fleet that works; restore into an empty run directory, all or nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.deploy.registry import JournalPosition, LiveEpisode, Registry, read_history
from floop_robot.durable.checked_json import seal, unseal
from floop_robot.durable.locks import RunLock
from floop_robot.services import learner
from floop_robot.services.backup import MANIFEST, PARTS, back_up, restore
from floop_robot.spec.config import FloopConfig, load_config, save_config
from floop_robot.spec.errors import ConfigError, FloopError, StorageError
from floop_robot.stream.journal import Journal
from floop_robot.stream.journal_reader import JournalReader
from tests.support.in_process_fleet import Episodes
from tests.support.sample_records import journal_entry
from tests.support.waiting import wait_for


class WorkingFleet:
    """Journal and registry, written by a thread each batch of which moves both."""

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir()
        self.run_dir = run_dir
        save_config(FloopConfig(run_dir=str(run_dir)), run_dir / "floop.yaml")
        (run_dir / "checkpoint.learner").write_bytes(b"weights")
        (run_dir / "gate").mkdir()
        (run_dir / "gate" / "next_seed").write_bytes(b"7")
        (run_dir / "secrets").mkdir()
        (run_dir / "secrets" / "site").write_bytes(b"secret")
        (run_dir / "secrets" / "site").chmod(0o600)
        (run_dir / "robots" / "robot_1" / "spool").mkdir(parents=True)
        (run_dir / "robots" / "robot_1" / "spool" / "0.seg").write_bytes(b"undelivered")
        (run_dir / "logs").mkdir()
        (run_dir / "logs" / "gate.log").write_bytes(b"line")
        self._lock, self._stop, self.batches = RunLock(run_dir), threading.Event(), 0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        journal, registry = Journal(self.run_dir / "journal.sqlite"), Registry(self.run_dir / "registry.sqlite")
        episodes = Episodes()
        while not self._stop.is_set():
            first = journal.high_water_mark("robot_1", "boot") or 0
            journal.append([journal_entry(first, 20)])
            made: list[LiveEpisode] = [episodes.make(1, True, observed_ns=1)]
            registry.telemetry.record_episodes(made, JournalPosition(journal.head, journal.id))
            self.batches += 1
        journal.close()
        registry.close()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._lock.release()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[WorkingFleet]:
    made = WorkingFleet(tmp_path / "run")
    wait_for(lambda: made.batches > 5)
    yield made
    made.stop()


def test_a_backup_of_a_working_fleet_is_whole_and_goes_on(fleet: WorkingFleet, tmp_path: Path) -> None:
    for number in range(5):
        back_up(fleet.run_dir, tmp_path / f"backup_{number}")
        before = fleet.batches
        wait_for(lambda before=before: fleet.batches > before + 3)  # type: ignore[misc]
    fleet.stop()
    for number in range(5):
        target = restore(tmp_path / f"backup_{number}", tmp_path / f"new_{number}")
        audit = JournalReader(target / "journal.sqlite").audit()
        assert audit.is_sound and audit.blocks > 5
        registry = Registry(target / "registry.sqlite")
        read = registry.telemetry.journal_position
        journal = Journal(target / "journal.sqlite")
        assert read.journal_id == journal.id and 5 < read.through <= journal.head
        assert len(registry.telemetry.episodes()) == read.through
        journal.append([journal_entry(journal.high_water_mark("robot_1", "boot") or 0, 20)])
        journal.close()
        registry.close()
        assert load_config(target / "floop.yaml").run_dir == str(target)
        assert (target / "secrets" / "site").stat().st_mode & 0o777 == 0o600
        assert not (target / "robots").exists() and not (target / "logs").exists()
        assert (target / "gate" / "next_seed").read_bytes() == b"7"
        assert (target / "checkpoint.learner").read_bytes() == b"weights"


def test_a_backup_with_the_configuration_of_an_earlier_floop_is_restored(fleet: WorkingFleet, tmp_path: Path) -> None:
    (fleet.run_dir / "floop.yaml").write_text("robots: 2\ngate: {warmup_s: 3.0}\n")
    back_up(fleet.run_dir, tmp_path / "backup")
    target = restore(tmp_path / "backup", tmp_path / "new")
    settings = msgspec.yaml.decode((target / "floop.yaml").read_bytes())
    assert settings == {"robots": 2, "gate": {"warmup_s": 3.0}, "run_dir": str(target)}
    with pytest.raises(ConfigError, match=r"leave out of it: gate.warmup_s"):  # where it can be changed
        load_config(target / "floop.yaml")


def test_without_a_run_dir_it_goes_back_to_where_it_was_made(fleet: WorkingFleet, tmp_path: Path) -> None:
    back_up(fleet.run_dir, tmp_path / "backup")
    with pytest.raises(ConfigError, match="a fleet runs in"):
        restore(tmp_path / "backup")
    fleet.stop()
    with pytest.raises(ConfigError, match=r"is not empty; move it away \(mv "):
        restore(tmp_path / "backup")
    kept = sorted(path.name for path in fleet.run_dir.iterdir())
    fleet.run_dir.rename(tmp_path / "run.before")
    assert restore(tmp_path / "backup") == fleet.run_dir
    assert {"journal.sqlite", "registry.sqlite", "floop.yaml"} <= set(kept)
    assert read_history(fleet.run_dir / "registry.sqlite").episodes


@pytest.mark.parametrize("name", ["journal.sqlite", "registry.sqlite", "floop.yaml", "checkpoint.learner"])
def test_a_damaged_backup_is_named_and_nothing_is_restored(fleet: WorkingFleet, tmp_path: Path, name: str) -> None:
    back_up(fleet.run_dir, tmp_path / "backup")
    path = tmp_path / "backup" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match=f"{name} is damaged"):
        restore(tmp_path / "backup", tmp_path / "new")
    path.unlink()
    with pytest.raises(StorageError, match=f"{name} is missing"):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_backup_that_was_cut_off_and_folders_that_are_none_are_refused(fleet: WorkingFleet, tmp_path: Path) -> None:
    back_up(fleet.run_dir, tmp_path / "backup")
    with pytest.raises(ConfigError, match="is not empty"):
        back_up(fleet.run_dir, tmp_path / "backup")
    with pytest.raises(StorageError, match="no fleet has run there"):
        back_up(tmp_path / "backup" / "gate", tmp_path / "other")
    manifest = tmp_path / "backup" / MANIFEST
    text = unseal(manifest.read_bytes(), manifest).decode()
    for wrong, told in (
        (seal(text.replace('"gate/next_seed"', '"../next_seed"').encode()), "outside of the backup"),
        (seal(text.replace('"format": 1', '"format": 9').encode()), "has format 9"),
        (seal(text.encode()).replace(b"next_seed", b"last_seed"), "is damaged"),
        (text[:-20].encode(), "is damaged"),
    ):
        manifest.write_bytes(wrong)
        with pytest.raises(FloopError, match=told):
            restore(tmp_path / "backup", tmp_path / "new")
    manifest.unlink()
    with pytest.raises(StorageError, match="no whole backup"):
        restore(tmp_path / "backup", tmp_path / "new")
    shutil.rmtree(tmp_path / "backup")
    with pytest.raises(StorageError, match="no whole backup"):
        restore(tmp_path / "backup", tmp_path / "new")


def test_the_checkpoint_is_among_what_is_kept() -> None:
    assert f"{learner.CHECKPOINT}*" in PARTS
