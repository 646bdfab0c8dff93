"""Structs to ROS messages and back, by field name.

A field takes its value from the field of the same name. The call spells out every exception as a keyword, and these
rules hold for all:

- an enum travels as its value, a struct as the nested message, a sequence of structs as a list of them;
- a `Time` field `x` or `x_stamp` takes the struct's `x_ns`, wall-clock ns since the epoch;
- `header` is stamped now.

A field that has no value is a mistake in the code: `TypeError` names it.
"""

from __future__ import annotations

import enum
import functools
import importlib
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from rosidl_parser.definition import AbstractNestedType, NamespacedType

from floop_robot.ros.node.stamps import from_time, header, to_time

M = TypeVar("M")
S = TypeVar("S", bound=msgspec.Struct)


def to_message(kind: Callable[..., M], struct: msgspec.Struct, *, check_fields: bool = False, **given: Any) -> M:
    """A message of `kind` from a struct; `given` fields come from the caller.

    `check_fields` refuses a value that its field can't hold; otherwise only the types are looked at when it is sent.
    """
    for name, read in _writers(kind, type(struct), check_fields):
        if name not in given:
            given[name] = read(struct)
    return kind(check_fields=check_fields, **given) if check_fields else kind(**given)


def from_message(kind: type[S], message: Any, **given: Any) -> S:
    """A struct of `kind` from a message; raises `ValueError` for an enum's unknown value."""
    for name, read in _readers(kind):
        if name not in given:
            given[name] = read(message)
    return kind(**given)


@functools.cache
def _writers(kind: Any, struct: type[msgspec.Struct], check_fields: bool) -> list[tuple[str, Callable[[Any], Any]]]:
    has = set(struct.__struct_fields__) | {name for name in dir(struct) if isinstance(getattr(struct, name), property)}
    slots = zip(kind.get_fields_and_field_types(), kind.SLOT_TYPES, strict=True)
    return [(name, _writer(f"{kind.__name__}.{name}", name, slot, has, check_fields)) for name, slot in slots]


def _writer(path: str, name: str, slot: Any, has: set[str], check_fields: bool) -> Callable[[Any], Any]:
    source = next((n for n in (name, f"{name}_ns", f"{name.removesuffix('_stamp')}_ns") if n in has), "")
    if not source:
        return (lambda _: header()) if name == "header" else functools.partial(_missing, path)
    element = slot.value_type if isinstance(slot, AbstractNestedType) else slot
    if not isinstance(element, NamespacedType):
        return lambda struct: _plain(getattr(struct, source))
    if element.name == "Time":
        return lambda struct: to_time(getattr(struct, source))
    nested = getattr(importlib.import_module(".".join(element.namespaces)), element.name)
    convert = functools.partial(to_message, nested, check_fields=check_fields)
    if element is slot:
        return lambda struct: convert(getattr(struct, source))
    return lambda struct: [convert(each) for each in getattr(struct, source)]


def _missing(path: str, struct: Any) -> Any:
    raise TypeError(f"{path}: {type(struct).__name__} has no such field, and the caller gave no value")


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


@functools.cache
def _readers(kind: type[msgspec.Struct]) -> list[tuple[str, Callable[[Any], Any]]]:
    hints = typing.get_type_hints(kind)
    return [(name, _reader(name, hints[name])) for name in kind.__struct_fields__]


def _reader(name: str, hint: Any) -> Callable[[Any], Any]:
    if name.endswith("_ns"):
        return lambda message: from_time(getattr(message, name.removesuffix("_ns")))
    if typing.get_origin(hint) is tuple:
        return lambda message: tuple(getattr(message, name))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return lambda message: from_message(hint, getattr(message, name))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return lambda message: hint(getattr(message, name))
    return lambda message: getattr(message, name)
