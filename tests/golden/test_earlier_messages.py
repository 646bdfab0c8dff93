"""Robots and site one version apart understand each other: messages of the version before, and of one that comes after.

`files/messages.json` was written by floop at commit 7cb69df with `make_messages.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from floop_robot.durable.framing import deframe, deframe_message, frame, frame_message
from tests.golden.make_messages import UNIONS, encoded

EARLIER: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "files" / "messages.json").read_text())
CASES = [(direction, kind) for direction, kinds in EARLIER.items() for kind in kinds]


def decoder(direction: str) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(UNIONS[direction])


def plain(data: bytes) -> Any:
    body = deframe(data)
    assert body is not None
    return msgspec.msgpack.decode(body)


def says_no_less(now: Any, before: Any) -> bool:
    """Whether a reader of before finds all its fields in what is said now, by name or by position."""
    if isinstance(before, dict):
        return isinstance(now, dict) and all(
            key in now and says_no_less(now[key], value) for key, value in before.items()
        )
    if isinstance(before, list):
        return isinstance(now, list) and len(now) >= len(before) and all(map(says_no_less, now, before))
    return bool(now == before)


@pytest.mark.parametrize(("direction", "kind"), CASES, ids=lambda value: value.replace(" ", "_"))
def test_a_message_of_the_version_before_is_read_and_would_be_written_alike(direction: str, kind: str) -> None:
    data = bytes.fromhex(EARLIER[direction][kind])
    message = deframe_message(data, decoder(direction))
    assert type(message).__name__ == kind
    assert says_no_less(plain(frame_message(message)), plain(data)), "a field changed its name, place or meaning"


@pytest.mark.parametrize(
    ("direction", "kind"), [(d, k) for d, kinds in encoded().items() for k in kinds], ids=lambda v: v.replace(" ", "_")
)
def test_fields_of_a_later_version_are_skipped(direction: str, kind: str) -> None:
    data = bytes.fromhex(encoded()[direction][kind])
    later = plain(data)
    if isinstance(later, dict):
        later |= {"field_of_a_later_version": [1, {"a": b"b"}]}
    else:
        later += [{"field": "of a later version"}]
    message = deframe_message(frame(msgspec.msgpack.encode(later)), decoder(direction))
    assert message == deframe_message(data, decoder(direction))


def test_no_kind_of_message_of_the_version_before_is_gone() -> None:
    now = encoded()
    for direction, kinds in EARLIER.items():
        assert not kinds.keys() - now[direction].keys(), direction
