"""Reads .msg, .srv and .action files, without ROS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[3] / "floop_interfaces"
KINDS = ("msg", "srv", "action")
_LINE = re.compile(r"^(?P<type>[\w/]+(\[\d*\])?) +(?P<name>\w+)(?P<value>=[^#]*)? *(#(?P<comment>.*))?$")


@dataclass(frozen=True)
class Entry:
    """A field, or a constant when it has a value."""

    type: str
    name: str
    value: str | None
    comment: str
    part: int
    """0 for the request or goal, 1 for the response or result, 2 for feedback."""


@dataclass(frozen=True)
class Interface:
    """One file."""

    path: Path
    purpose: str
    """The comment that opens it."""
    entries: tuple[Entry, ...]

    @property
    def fields(self) -> dict[str, str]:
        """Name and type of every field."""
        return {e.name: e.type for e in self.entries if e.value is None}

    def constants(self, prefix: str) -> dict[str, str]:
        """Constants whose name begins with `prefix`, less that; values as text."""
        found = {e.name: e.value for e in self.entries if e.value is not None and e.name.startswith(prefix)}
        return {name.removeprefix(prefix): str(value) for name, value in found.items()}


def read(path: Path) -> Interface:
    """Raises ValueError naming file and line where a line is none of comment, field, constant and separator."""
    purpose, entries, part, opening = [], [], 0, True
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if opening and line.startswith("#"):
            purpose.append(line.lstrip("# "))
            continue
        opening = False
        if line == "---":
            part += 1
        elif line.strip() and not line.startswith("#"):
            found = _LINE.match(line)
            if not found:
                raise ValueError(f"{path}:{number}: {line}")
            value = found["value"].lstrip("=").strip().strip('"') if found["value"] else None
            entries.append(Entry(found["type"], found["name"], value, (found["comment"] or "").strip(), part))
    return Interface(path, " ".join(purpose), tuple(entries))


def paths() -> list[Path]:
    """Every interface file."""
    return sorted(p for kind in KINDS for p in (SOURCES / kind).glob(f"*.{kind}"))


def message(name: str) -> Interface:
    """The message called `name`."""
    return read(SOURCES / "msg" / f"{name}.msg")
