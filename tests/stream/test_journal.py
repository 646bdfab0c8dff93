"""The journal: marks move with rows, damage is noticed, and it belongs to one ingest."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import Source
from floop_robot.stream.codec import RecordKind
from floop_robot.stream.journal import Journal
from floop_robot.stream.journal_reader import JournalReader
from tests.support.sample_records import episode_end, event, journal_entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.sqlite"


def filled(path: Path) -> Journal:
    journal = Journal(path)
    journal.append(
        [
            journal_entry(0, 5),
            journal_entry(0, 3, "robot_2"),
            journal_entry(5, 5, "robot_1", Source.ROBOT, episode_end(0)),
        ]
    )
    journal.append([journal_entry(0, 7, "explorer_1", Source.EXPLORER, event())])
    return journal


def test_marks_and_rows_survive_a_restart(path: Path) -> None:
    first = filled(path)
    identity = first.id
    first.close()
    again = Journal(path)
    assert (again.id, again.head) == (identity, 4)
    assert again.high_water_mark("robot_1", "boot") == 11 and again.high_water_mark("robot_2", "boot") == 3
    assert again.high_water_mark("robot_3", "boot") is None and again.high_water_mark("robot_1", "other") is None


def test_ranges_are_read_by_id_kind_and_source(path: Path) -> None:
    filled(path)
    reader = JournalReader(path)
    rows, through = reader.read(0, 100, 10**9)
    assert [row.id for row in rows] == [1, 2, 3, 4] and through == 4
    assert [row.id for row in reader.read(2, 100, 10**9)[0]] == [3, 4]
    assert ([row.id for row in reader.read(0, 2, 10**9)[0]], reader.read(0, 2, 10**9)[1]) == ([1, 2], 2)
    assert [row.id for row in reader.read(0, 100, 1)[0]] == [1]  # at least one, however small the budget
    assert [row.id for row in reader.read(0, 100, 10**9, RecordKind.EPISODE_END)[0]] == [3]
    assert [row.id for row in reader.read(0, 100, 10**9, sources=[Source.EXPLORER])[0]] == [4]
    assert reader.read(3, 100, 10**9, RecordKind.EPISODE_END) == ([], 4)


def test_a_failed_append_leaves_nothing(path: Path) -> None:
    journal = filled(path)
    with pytest.raises(ValueError, match="below the mark"):
        journal.append([journal_entry(11, 2), journal_entry(0, 2, "robot_2")])
    assert journal.high_water_mark("robot_1", "boot") == 11 and journal.head == 4
    journal.append([journal_entry(11, 2)])
    assert JournalReader(path).audit().is_sound


def test_the_audit_counts_what_is_there(path: Path) -> None:
    filled(path)
    audit = JournalReader(path).audit()
    assert (audit.blocks, audit.records, audit.streams) == (4, 22, 3) and audit.is_sound
    assert audit.transitions_by_source == {"robot": 13, "explorer": 7, "demonstration": 0, "fitter": 0}


def test_the_audit_sees_what_is_missing_doubled_or_damaged(path: Path) -> None:
    filled(path).close()

    def audit_after(*statements: str) -> tuple[int, int, int]:
        copy = path.with_name("copy.sqlite")
        copy.write_bytes(path.read_bytes())
        with sqlite3.connect(copy) as db:
            for statement in statements:
                db.execute(statement)
        db.close()
        reader = JournalReader(copy)
        audit = reader.audit()
        reader.close()
        return audit.lost, audit.doubled, audit.damaged

    assert audit_after() == (0, 0, 0)
    assert audit_after("DELETE FROM blocks WHERE id = 1") == (5, 0, 0)
    assert audit_after("DELETE FROM blocks WHERE id = 3") == (6, 0, 0)
    assert audit_after("UPDATE blocks SET first_seq = 4 WHERE id = 3") == (6, 0, 1)
    assert audit_after("UPDATE blocks SET payload = x'00' WHERE id = 2") == (3, 0, 1)
    assert audit_after("UPDATE blocks SET source = 2 WHERE id = 2") == (3, 0, 1)
    assert audit_after("UPDATE blocks SET robot = CAST(x'ff' AS TEXT) WHERE id = 2") == (3, 0, 1)


def test_a_gap_is_stored_and_counted(path: Path) -> None:
    journal = filled(path)
    journal.append([journal_entry(20, 2)])
    assert journal.high_water_mark("robot_1", "boot") == 22
    assert JournalReader(path).audit().lost == 9


def test_flipped_bits_in_the_file_never_yield_a_wrong_row(path: Path) -> None:
    journal = Journal(path)
    journal.append([journal_entry(i * 20, 20) for i in range(40)])
    journal.close()
    data = path.read_bytes()
    sound = {row.id: row.payload for row in JournalReader(path).read(0, 1000, 10**9)[0]}
    noticed = 0
    for at in range(5000, len(data), len(data) // 60):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        copy = path.with_name("flipped.sqlite")
        copy.write_bytes(bytes(flipped))
        try:
            rows, _ = JournalReader(copy).read(0, 1000, 10**9)
        except StorageError:
            noticed += 1
            continue
        assert all(row.payload is None or row.payload == sound.get(row.id) for row in rows)
        noticed += any(row.payload is None for row in rows)
    assert noticed >= 40


def test_the_journal_holds_the_very_bytes_that_the_robot_made(path: Path) -> None:
    entry = journal_entry(0, 5)
    journal = Journal(path)
    journal.append([entry])
    [row], _ = JournalReader(path).read(0, 10, 10**9)
    assert row.payload == entry.payload


def test_one_ingest_at_a_time(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(StorageError, match="in use by another process"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "damaged.sqlite").write_bytes(b"this is no database, and never was one" * 100)
    for path in (tmp_path / "file" / "journal.sqlite", tmp_path / "damaged.sqlite"):
        with pytest.raises(StorageError) as caught:
            Journal(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(StorageError):  # and the lock was released
        Journal(tmp_path / "damaged.sqlite")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_no_permission_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    code = (
        "import os; from pathlib import Path; from floop_robot.stream.journal import Journal\n"
        "from floop_robot.spec.errors import StorageError\n"
        f"os.seteuid(65534)\ntry: Journal(Path({str(tmp_path / 'mine' / 'journal.sqlite')!r}))\n"
        "except StorageError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert "journal.lock: Permission denied; choose a writable folder" in done.stdout, done.stderr


def test_a_journal_of_another_schema_is_refused(path: Path) -> None:
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
    db.close()
    with pytest.raises(StorageError, match=r"schema 1, this one reads 3\); use that floop, or choose another run_dir"):
        Journal(path)
