"""YAML into typed structs, with errors that name the file, the field and the nearest valid name."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import yaml

from floop_robot.spec.errors import ConfigError, UnknownName, did_you_mean
from floop_robot.spec.faults import Fault, Fields, WrongFields
from floop_robot.spec.file_kinds import other_kind
from floop_robot.spec.renamed_keys import removed_keys_in, renamed_keys_in

T = TypeVar("T")
_NAMES = {"object": "fields (name: value)", "array": "a list"}
"""What msgspec calls by JSON's names."""
_TYPES = {"float": "a number", "int": "a whole number", "str": "a text", "bool": "true or false", "null": "nothing"}
"""What msgspec calls by Python's names."""
_TYPE = re.compile(rf"\b({'|'.join(_TYPES)})\b")
_TEXT_WANTED = re.compile(r"Expected str, got (int|float|bool)\Z")
_NUMBER_WANTED = re.compile(r"(Expected (int|float)\b.*), got str\Z")
_CHOICE_WANTED = re.compile(r"Invalid enum value '(.*)'\Z")
MAX_WHOLE = 2.0**53
"""Above it, not every whole number is a float."""
_INDEX = re.compile(r"(\[\d+\])+")
"""Of an element, in the path of an error."""


class _Loader(yaml.SafeLoader):
    """Reads `7e-4` and `-.5` as the numbers they are in YAML 1.2, `2e4` as a whole one; in YAML 1.1 these are texts.

    Refuses a key that is there twice, `010` and `1:30`. PyYAML would silently take the last key, 8, and 90.
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

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """As `SafeLoader`; raises `ConstructorError` for a number to the base 8 or 60, which nobody means."""
        _refuse_other_bases(node)
        return int(self.construct_yaml_int(node))

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """As `SafeLoader`; whole numbers with an exponent and without a point fit integer fields."""
        _refuse_other_bases(node)
        number: float = self.construct_yaml_float(node)
        is_whole = "." not in node.value and abs(number) < MAX_WHOLE and number.is_integer()
        return int(number) if is_whole else number


def _refuse_other_bases(node: yaml.ScalarNode) -> None:
    if ":" in node.value or re.match(r"[-+]?0[0-9_]+\Z", node.value):
        problem = f"{node.value} is not the number that it seems; write a plain number, or a text in quotes"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_NUMBER = re.compile(r"[-+]?(\.\d+([eE][-+]?\d+)?|\d+(\.\d*)?[eE][-+]?\d+)\Z", re.ASCII)
"""Numbers in YAML 1.2 that YAML 1.1 has as texts."""
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def read_yaml(path: Path, kind: type[T]) -> T:
    """Read `path` as a `kind`; raises `ConfigError` in one line."""
    raw = load_yaml(path)
    return convert({} if raw is None else raw, kind, str(path))


def description_file(what: str, title: str, name: str, shipped_dir: Path) -> Path:
    """The YAML file of a description, by the name of a shipped one or by its path.

    Raises `UnknownName`, or `ConfigError` for a path at which there is none. `what`, `title`: for texts.
    """
    shipped = sorted(path.stem for path in shipped_dir.glob("*.yaml"))
    if name in shipped:
        return shipped_dir / f"{name}.yaml"
    path, known = Path(name), f"give the path of yours, or one of {', '.join(shipped)}"
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"{title} {name} is no file; {known}")
        return path
    if name and (path.exists() or path.suffix or "/" in name):
        raise ConfigError(f"{title} {name} is no YAML file; {known}")
    raise UnknownName(what, name, shipped)


def load_yaml(path: Path) -> Any:
    """The plain data of a YAML file, None for an empty one; raises `ConfigError` in one line."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None


def parse_yaml(text: str, where: str) -> Any:
    """The plain data of YAML, None for an empty text; raises `ConfigError` in one line that names `where`."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place} is not valid YAML: {error.problem or error.context}") from None
    except RecursionError:
        raise ConfigError(f"{where} is not valid YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


def convert(raw: Any, kind: type[T], where: str) -> T:
    """Turn plain data into a `kind`; raises `WrongFields`, which names every wrong field."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        struct = _struct_in(kind)
        faults = fields_of(raw, struct, where).faults if struct else ()
        raise WrongFields(faults or [Fault("", f"{where}: {error}")]) from None


def read_fields(path: Path, kind: type[msgspec.Struct]) -> Fields:
    """The fields of a YAML file for a `kind`, right and wrong; raises `ConfigError` for a file that is no YAML."""
    raw = load_yaml(path)
    if raw is None and (needed := [f.name for f in msgspec.structs.fields(kind) if f.required]):
        raise WrongFields([Fault("", f"{path} is empty; it needs at least {', '.join(needed)}")])
    return fields_of({} if raw is None else raw, kind, str(path))


def fields_of(raw: Any, kind: type[msgspec.Struct], where: str) -> Fields:
    """The fields of plain data for a `kind`, right and wrong."""
    if isinstance(raw, dict) and (changes := _changes_since(raw)):
        old = f"{where} was written for an older floop; {changes}"
        return Fields(where, raw, {}, [Fault("", old)])
    if other := other_kind(raw, kind.__name__):
        return Fields(where, raw, {}, [Fault("", f"{where} {other}")])
    walk = _Walk(where)
    walk.struct(raw, kind, "")
    return Fields(where, raw, walk.values, walk.faults)


class _Walk:
    """Converts plain data field by field, so that each wrong one is found and not the first alone."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.values: dict[str, Any] = {}
        self.faults: list[Fault] = []

    def struct(self, raw: Any, kind: type[msgspec.Struct], path: str) -> None:
        """Walk through what should be the fields of a `kind`."""
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        if not isinstance(raw, dict):
            got = "nothing" if raw is None else _TYPES.get(type(raw).__name__, f"a {type(raw).__name__}")
            known = f"; its fields: {', '.join(fields)}" if path else ""
            self._fault(path, f"expected fields (name: value), got {got}{known}")
            return
        self._keys(raw, list(fields), path)
        for name, field in fields.items():
            here = f"{path}.{name}" if path else name
            if name in raw:
                self._value(raw[name], field.type, here)
            elif field.required:
                self._fault(here, "is missing; add it")
            else:
                default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
                self._default(default, here)

    def _keys(self, raw: dict[Any, Any], known: list[str], path: str) -> None:
        place = f" in {path}" if path else ""
        for key in raw:
            here = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                line = f"{self._where}: key{place}: expected a text, got {key!r}; put it in quotes"
                self.faults.append(Fault(here, line))
            elif key not in known:
                where = f"{self._where} at {path}" if path else self._where
                self.faults.append(Fault(here, str(UnknownName("field", key, known, where))))

    def _value(self, raw: Any, kind: Any, path: str) -> None:
        struct = _struct_in(kind)
        item = _struct_in(_item_of(kind))
        if struct is not None and (isinstance(raw, dict) or struct is kind):
            self.struct(raw, struct, path)
            self.values[path] = raw
        elif item is not None and isinstance(raw, list):
            for i, one in enumerate(raw):
                self.struct(one, item, f"{path}[{i}]")
        elif item is not None and isinstance(raw, dict):
            for key, one in raw.items():
                self.struct(one, item, f"{path}.{key}")
        else:
            self._leaf(raw, kind, path, struct)

    def _leaf(self, raw: Any, kind: Any, path: str, struct: type[msgspec.Struct] | None) -> None:
        try:
            value = msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            what, index = _in_words(str(error), kind)
            known = f"; its fields: {', '.join(f.name for f in msgspec.structs.fields(struct))}" if struct else ""
            self._fault(path + index, what + known + _shown(raw, index))
            return
        if bad := _first_not_finite(value):
            index, number = bad
            self._fault(path + index, f"{number} is not a finite number; write a number")
            return
        self.values[path] = value

    def _default(self, value: Any, path: str) -> None:
        if isinstance(value, msgspec.Struct):
            for field in msgspec.structs.fields(value):
                self._default(getattr(value, field.name), f"{path}.{field.name}")
        elif value is not None and value is not msgspec.UNSET:
            self.values[path] = value

    def _fault(self, path: str, text: str) -> None:
        self.faults.append(Fault(path, f"{self._where}: {path + ': ' if path else ''}{text}"))


def _changes_since(raw: Any) -> str:
    """What must change in a file of an older floop; empty for any other."""
    renamed = ", ".join(f"{old} is now {new}" for old, new in renamed_keys_in(raw).items())
    removed = ", ".join(removed_keys_in(raw))
    return "; ".join(filter(None, (renamed and f"rename in it: {renamed}", removed and f"leave out of it: {removed}")))


def _in_words(error: str, kind: Any) -> tuple[str, str]:
    """What msgspec says of a `kind`, in YAML's words, and the index of the element that it speaks of, as in `[2]`."""
    what, _, place = error.replace("`", "").partition(" - at ")
    for json_name, name in _NAMES.items():
        what = what.replace(json_name, name)
    what = _NUMBER_WANTED.sub(r"\1, got str; write a plain ASCII number, without quotes, unit or formula", what)
    what = _TEXT_WANTED.sub(r"Expected str, got \1; put it in quotes if it is meant so", what)
    if what.startswith("Expected"):
        what = _TYPE.sub(lambda found: _TYPES[found[0]], what).replace(" | ", " or ")
    if choice := _CHOICE_WANTED.findall(what):
        what = f"unknown value {choice[0]!r}; {did_you_mean(choice[0], _words_of(kind))}"
    index = _INDEX.search(place)
    return what[0].lower() + what[1:], index[0] if index else ""


def _words_of(kind: Any) -> list[str]:
    """The texts that a type lets a field be, as a `Literal` or as one of several options."""
    return [word for part in get_args(kind) for word in ([part] if isinstance(part, str) else _words_of(part))]


def _shown(raw: Any, index: str) -> str:
    """The wrong value in brackets, where it is short."""
    for i in re.findall(r"\d+", index):
        if not isinstance(raw, list) or int(i) >= len(raw):
            return ""
        raw = raw[int(i)]
    is_short = isinstance(raw, str | int | float) and not isinstance(raw, bool) and len(repr(raw)) <= 40
    return f" ({raw!r})" if is_short else ""


def _first_not_finite(value: Any) -> tuple[str, float] | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else ("", value)
    for i, one in enumerate(value if isinstance(value, tuple | list) else ()):
        if bad := _first_not_finite(one):
            return f"[{i}]{bad[0]}", bad[1]
    return None


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a type is, or has as an option."""
    for option in (kind, *getattr(kind, "__args__", ())):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option if option is kind or type(None) in kind.__args__ else None
    return None


def _item_of(kind: Any) -> Any:
    """Type of the elements of a list type, or of the values of a mapping's."""
    origin = getattr(kind, "__origin__", None)
    return kind.__args__[-1 if origin is dict else 0] if origin in (tuple, list, dict) else None
