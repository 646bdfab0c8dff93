"""Write one message of each kind as this floop encodes it: `PYTHONPATH=OLD_CHECKOUT python make_messages.py FILE`.

Run it with the floop of the version before, from its checkout. It imports no tests, so that it runs there.
"""

from __future__ import annotations

import enum
import itertools
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from floop_robot.bundle import delivery
from floop_robot.deploy import messages as deploy
from floop_robot.durable.framing import frame_message
from floop_robot.stream import messages as stream

UNIONS = {
    "robot to fleet manager": delivery.RobotRequest,
    "fleet manager to robot": delivery.RobotReply | delivery.Announcement,
    "anyone to fleet manager": deploy.Request,
    "fleet manager to anyone": deploy.Reply,
    "sender to ingest": stream.FromSender,
    "ingest to sender": stream.FromIngest,
    "tail client to server": stream.FromTailClient,
    "tail server to client": stream.FromTailServer,
}
"""Who says what to whom."""


def filled(kind: Any, numbers: itertools.count[int]) -> Any:
    """A value of this type in which every field says something, each number another one."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return filled(arguments[0], numbers)
    if origin in (typing.Union, types.UnionType):
        return filled(next(each for each in arguments if each is not type(None)), numbers)
    if origin is dict:
        return {filled(arguments[0], numbers): filled(arguments[1], numbers)}
    if origin is tuple:
        return tuple(filled(each, numbers) for each in arguments if each is not ...)
    if issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = msgspec.structs.fields(kind)
        return kind(**{field.name: filled(hints[field.name], numbers) for field in fields})
    if issubclass(kind, enum.Enum):
        return next(iter(kind))
    if kind is bool:
        return True
    number = next(numbers)
    return {int: number % 200, float: number + 0.5, str: f"text_{number}", bytes: b"bytes %d" % number}[kind]


def encoded() -> dict[str, dict[str, str]]:
    """By direction and kind: the message as it travels, in hexadecimal digits."""
    return {
        direction: {
            kind.__name__: frame_message(filled(kind, itertools.count(1))).hex() for kind in typing.get_args(union)
        }
        for direction, union in UNIONS.items()
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(encoded(), indent=1, sort_keys=True) + "\n")
