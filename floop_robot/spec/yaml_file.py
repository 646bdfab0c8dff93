"""YAML into typed structs, with errors that name the file, the field and the nearest valid name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.renamed_keys import removed_keys_in, renamed_keys_in

T = TypeVar("T")
_NAMES = {"object": "fields (name: value)", "array": "list"}
"""What msgspec calls by JSON's names."""
_TEXT_WANTED = re.compile(r"Expected str, got (int|float|bool)\Z")
MAX_WHOLE = 2.0**53
"""Above it, not every whole number is a float."""
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]+)`(?: - at `\$?(?P<path>[^`]*)`)?")


class _Loader(yaml.SafeLoader):
    """Reads `7e-4` as the number it is in YAML 1.2, and `2e4` as a whole one; YAML 1.1, as PyYAML has it, takes texts.

    Refuses a key that is there twice. YAML forbids it; PyYAML would silently take the last one.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As `SafeLoader`, before anything is merged into the mapping; raises `ConstructorError`."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """As `SafeLoader`; whole numbers with an exponent and without a point fit integer fields."""
        number: float = self.construct_yaml_float(node)
        is_whole = "." not in node.value and abs(number) < MAX_WHOLE and number.is_integer()
        return int(number) if is_whole else number


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+\Z", re.ASCII), list("-+.0123456789")
)


def read_yaml(path: Path, kind: type[T]) -> T:
    """Read `path` as a `kind`; raises `ConfigError` or `UnknownName` in one line."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the path") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{place} is not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return convert({} if raw is None else raw, kind, str(path))


def _changes_since(raw: Any) -> str:
    """What must change in a file of an older floop; empty for any other."""
    renamed = ", ".join(f"{old} is now {new}" for old, new in renamed_keys_in(raw).items())
    removed = ", ".join(removed_keys_in(raw))
    return "; ".join(filter(None, (renamed and f"rename in it: {renamed}", removed and f"leave out of it: {removed}")))


def convert(raw: Any, kind: type[T], where: str) -> T:
    """Turn plain data into a `kind`; unknown fields are refused with the nearest valid one."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        found = _UNKNOWN.search(str(error))
        if found and (changes := _changes_since(raw)):
            raise ConfigError(f"{where} was written for an older floop; {changes}") from None
        if found:
            path = (found["path"] or "").strip(".")
            place = f"{where} at {path}" if path else where
            raise UnknownName("field", found["name"], _fields_at(kind, path), place) from None
        what, _, field = str(error).replace("`", "").partition(" - at ")
        for json_name, name in _NAMES.items():
            what = what.replace(json_name, name)
        field = field.removesuffix(" in $").replace("$.", "")  # "$.robots", "key in $", "key in $.robot"
        names = _fields_at(kind, field) if what.startswith("Expected fields") else []
        known = f"; its fields: {', '.join(names)}" if field and names else ""
        what = _TEXT_WANTED.sub(r"Expected a text, got \1; put it in quotes if it is meant so", what)
        raise ConfigError(f"{where}: {field + ': ' if field else ''}{what[0].lower()}{what[1:]}{known}") from None


def _fields_at(kind: Any, path: str) -> list[str]:
    for part in filter(None, re.split(r"[.\[]", path)):
        if part[0] in "0123456789.":
            continue
        fields = {f.name: f.type for f in msgspec.structs.fields(kind)}
        kind = fields.get(part, kind)
        for option in getattr(kind, "__args__", ()):
            if isinstance(option, type) and issubclass(option, msgspec.Struct):
                kind = option
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return [f.name for f in msgspec.structs.fields(kind)] if is_struct else []
