"""Atomic files: the old content or the new one, and nothing left over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from floop_robot.durable.files import read_regular, replace_file, write_all, write_atomic
from floop_robot.spec.errors import StorageError


def test_content_is_replaced_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new" and list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("fails", ["fsync", "rename"])
def test_the_old_content_stays_when_the_disk_refuses(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if fails == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    else:
        monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError, match="No space left on device; free space or choose a writable folder"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_durable_means_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    replace_file(tmp_path / "state", b"1")
    assert len(synced) == 2 and synced[0].endswith(".new") and synced[1] == str(tmp_path)


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        write_atomic(tmp_path / "file" / "below", b"x")


def test_reading_is_bounded_and_takes_regular_files_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 3) == b"123"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="no regular file"):
        read_regular(tmp_path / "pipe", 3)
    with pytest.raises(StorageError, match="No such file"):
        read_regular(tmp_path / "nowhere", 3)


def test_everything_is_written_even_in_short_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), b"abcdefg")
    assert (tmp_path / "file").read_bytes() == b"abcdefg"
