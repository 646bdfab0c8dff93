"""NumberFile: one number that must outlive its process, with a checksum."""

from __future__ import annotations

from pathlib import Path

import msgspec

from floop_robot.durable.checked_json import FileDamaged, seal, unseal
from floop_robot.durable.files import replace_file
from floop_robot.spec.errors import StorageError


class _StoredNumber(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int


class NumberFile:
    """Replaced atomically; earlier floops wrote the bare number."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> int | None:
        """The number; None without a file. Raises `FileDamaged`, or `StorageError` when it can't be read."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error.strerror}; check the disk") from None
        if data.strip().isdigit():
            return int(data)
        try:
            return msgspec.json.decode(unseal(data, self.path), type=_StoredNumber).number
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise FileDamaged(f"{self.path} is damaged: it holds no number; restore a copy of it") from None

    def store(self, number: int) -> None:
        """Write durably; raises OSError."""
        replace_file(self.path, seal(msgspec.json.encode(_StoredNumber(number))))
