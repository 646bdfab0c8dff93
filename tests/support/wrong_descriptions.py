"""Wrong copies of robot and driver descriptions: one fault each, made from every field of the right ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec


class WrongCopy(NamedTuple):
    """A description with one fault."""

    fault: str
    field: str
    """Where it is, without an index."""
    data: dict[str, Any]


NOT_NUMBERS = (math.nan, math.inf, -math.inf, "nan", "12 rad", None, [], {"value": 1.0}, True)
SIGNED = (
    "home_rad", "position_lower_rad", "position_upper_rad", "workspace_low_m", "workspace_high_m", "closed", "open",
    "xyz_m", "rpy_rad", "min_score",
)  # fmt: skip
"""Numbers that may be 0 or negative."""
MAY_BE_EMPTY = (
    "gripper.joint_states_topic", "gripper.command_topic", "source", "beyond_urdf", "joint_prefix", "frame_prefix",
)  # fmt: skip
MAY_HAVE_SPACES = ("source", "beyond_urdf")
DRIVERS_NAMES = "joint_names"
"""Of a driver, whose list may be empty: then they are the model's."""


def wrong_copies(data: dict[str, Any], kind: type[msgspec.Struct]) -> Iterator[WrongCopy]:
    """One fault after another, in each field of `data`, which is right for a `kind`."""
    for path, value in _leaves(data):
        for fault, wrong in _wrong_values(path, value):
            if not (wrong == [] and path == DRIVERS_NAMES and not _is_required(kind, path)):
                yield WrongCopy(fault, path, _with(data, path, wrong))
        yield WrongCopy("misspelt", _misspelt(path), _renamed(data, path))
        if _is_required(kind, path):
            yield WrongCopy("left out", path, _without(data, path))


def _is_required(kind: Any, path: str) -> bool:
    name, _, rest = path.partition(".")
    (field,) = [field for field in msgspec.structs.fields(kind) if field.name == name]
    if not rest:
        return field.required
    options = (field.type, *getattr(field.type, "__args__", ()))
    if getattr(field.type, "__origin__", None) is dict:
        rest = rest.partition(".")[2]  # after the name of an entry
    return any(_is_required(option, rest) for option in options if hasattr(option, "__struct_fields__"))


def _wrong_values(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    name = path.rpartition(".")[2]
    if isinstance(value, bool):
        yield from (("text", "perhaps"), ("number", 2))
    elif isinstance(value, int | float):
        yield from _wrong_numbers(name, float(value))
    elif isinstance(value, list) and value and isinstance(value[0], str):
        yield from _wrong_names(value)
    elif isinstance(value, list) and value:
        yield from _wrong_lists(name, [float(v) for v in value])
    elif isinstance(value, str):
        yield from (("number", 3), ("list", [value]), ("null", None), ("mapping", {"a": value}))
        if name not in MAY_HAVE_SPACES:
            yield "spaces", f"{value} of mine"
        if path not in MAY_BE_EMPTY:
            yield "empty", ""


def _wrong_numbers(name: str, value: float) -> Iterator[tuple[str, Any]]:
    yield from ((str(wrong), wrong) for wrong in NOT_NUMBERS if wrong is not None or name != "time_from_start_s")
    yield "huge", 1e9
    if name not in SIGNED:
        yield from (("zero", 0.0), ("negative", -value))
    if name.endswith(("_m", "_m_s", "_s")):
        yield "thousandths", 1000 * value


def _wrong_lists(name: str, values: list[float]) -> Iterator[tuple[str, Any]]:
    yield from (("too short", values[:-1]), ("too long", [*values, values[-1]]), ("empty", []), ("number", values[0]))
    for i in (0, len(values) - 1):
        for fault, wrong in _wrong_numbers(name, values[i]):
            yield f"[{i}] {fault}", [*values[:i], wrong, *values[i + 1 :]]
    if "_rad" in name:
        yield "degrees", [math.degrees(v) for v in values]
    if name.endswith("_m"):
        yield "millimetres", [1000 * v for v in values]


def _wrong_names(names: list[str]) -> Iterator[tuple[str, Any]]:
    yield from (("empty", []), ("text", names[0]), ("a number in it", [*names[:-1], 7]))
    yield "an empty one", [*names[:-1], ""]
    yield "spaces in it", [f"{names[0]} ", *names[1:]]
    yield "the first twice", [*names, names[0]]
    if len(names) > 2:
        yield from (("too short", names[:-1]), ("reversed", names[::-1]), ("swapped", [names[1], names[0], *names[2:]]))
        yield from (("too long", [*names, "another"]), ("all alike", [names[0]] * len(names)))


def _leaves(data: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            yield from _leaves(value, here)
        else:
            yield here, value


def _edited(data: dict[str, Any], path: str, edit: Callable[[dict[str, Any], str], None]) -> dict[str, Any]:
    out = copy.deepcopy(data)
    *folders, name = path.split(".")
    place = out
    for folder in folders:
        place = place[folder]
    edit(place, name)
    return out


def _with(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    return _edited(data, path, lambda place, name: place.update({name: value}))


def _without(data: dict[str, Any], path: str) -> dict[str, Any]:
    return _edited(data, path, lambda place, name: place.pop(name))


def _misspelt(path: str) -> str:
    return f"{path[:-1]}zz"


def _renamed(data: dict[str, Any], path: str) -> dict[str, Any]:
    return _edited(data, path, lambda place, name: place.update({_misspelt(name): place.pop(name)}))
