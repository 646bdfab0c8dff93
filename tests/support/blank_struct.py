"""Structs for tests that care about a few of their fields only."""

from __future__ import annotations

import enum
import types
import typing
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def blank(kind: type[T], /, **given: Any) -> T:
    """A `kind` with the `given` fields; others have their default, or else zero, nothing or the first member."""
    for field in msgspec.structs.fields(kind):
        if field.name not in given and field.required:
            given[field.name] = _blank_value(field.type)
    return kind(**given)


def _blank_value(kind: Any) -> Any:
    if typing.get_origin(kind) is typing.Annotated:
        return _blank_value(typing.get_args(kind)[0])
    origin = typing.get_origin(kind) or kind
    if origin in (typing.Union, types.UnionType):
        return None if type(None) in typing.get_args(kind) else _blank_value(typing.get_args(kind)[0])
    if issubclass(origin, enum.Enum):
        return next(iter(origin))
    return blank(origin) if issubclass(origin, msgspec.Struct) else origin()
