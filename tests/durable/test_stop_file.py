"""A file that says that a robot must stand: what is left of it after writes that failed, and after damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.durable import stop_file
from floop_robot.durable.stop_file import StopFile, StopFileWriter


def kept(path: Path) -> StopFile[bytes | None]:
    return StopFile[bytes | None](path, None, lambda value: value or b"")


def test_a_stop_that_was_not_written_and_no_longer_holds_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kept(tmp_path / "robot_1")
    writer = StopFileWriter({"stop": file})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stop_file, "replace_file", full)
        file.value = b"stop"
        writer.save()
    assert writer.error == "stop cannot be written to disk: No space left on device; make room there"
    assert (tmp_path / "robot_1").read_bytes() == b"" and not file.is_saved
    file.value = None
    writer.save()
    assert not writer.error and file.is_saved and not list(tmp_path.iterdir())


def test_a_file_that_could_not_be_read_is_replaced_or_removed(tmp_path: Path) -> None:
    (tmp_path / "robot_1").mkdir()
    file = kept(tmp_path / "robot_1")
    assert "it is a folder" in file.load(bytes) and not file.is_saved
    (tmp_path / "robot_1").rmdir()
    (tmp_path / "robot_1").write_bytes(b"rest")
    file.save()
    assert file.is_saved and not list(tmp_path.iterdir())
