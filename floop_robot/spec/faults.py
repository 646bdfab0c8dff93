"""Fault: one wrong field of a file; WrongFields: the error that names them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from floop_robot.spec.errors import ConfigError


class Fault(msgspec.Struct, frozen=True):
    """One wrong field, in one line."""

    field: str
    """Its path, with the index of its first bad element, as in `limits.velocity_rad_s[2]`; empty: the file itself."""
    line: str
    """File, field, value, what is wrong with it, and what to do."""


class WrongFields(ConfigError):
    """A file with wrong fields. The text is the first one's, and names the others."""

    NAMED = 4
    """Of more others than that only so many are named."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        first, *others = self.faults
        names = [fault.field for fault in others[: self.NAMED]] + ["…"] * (len(others) > self.NAMED)
        more = f" ({len(others)} more wrong: {', '.join(names)})" if others else ""
        super().__init__(first.line + more)


class Fields:
    """The values of a file by their paths, and what is wrong with some of them.

    A field that is wrong already has no value, so that rules which compare fields don't speak of it again.
    """

    def __init__(self, where: str, raw: Any, values: dict[str, Any], faults: Sequence[Fault] = ()) -> None:
        """`where`: the file, as errors name it; `raw`: its plain data."""
        self.where, self.raw = where, raw
        self._values, self._faults = values, list(faults)
        self._wrong = {_whole(fault.field) for fault in faults}

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong, one line for each field."""
        return tuple(self._faults)

    def paths(self) -> list[str]:
        """Paths of all fields that have a value and are not wrong."""
        return [path for path in self._values if path not in self._wrong]

    def get(self, path: str) -> Any:
        """Value of a field; None when it is absent or wrong."""
        return None if path in self._wrong else self._values.get(path)

    def wrong(self, path: str, text: str) -> None:
        """A field is wrong; `path` may end with the index of its first bad element. Only the first word counts."""
        if _whole(path) not in self._wrong:
            self._wrong.add(_whole(path))
            self._faults.append(Fault(path, f"{self.where}: {path}: {text}"))

    def check(self) -> None:
        """Raise `WrongFields` if any is wrong."""
        if self._faults:
            raise WrongFields(self._faults)


def _whole(path: str) -> str:
    return path.partition("[")[0]
