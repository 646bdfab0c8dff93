"""Small files that notice their own rot: a JSON object whose last key, `crc32`, is the checksum of all before it.

Any JSON reader can still read them. A file of an earlier floop has no such key; it is read, and said so once.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from floop_robot.durable.framing import checksum
from floop_robot.spec.errors import StorageError

log = logging.getLogger(__name__)

_LEAD: Final = b',"crc32":"'
_END: Final = b'"}'
_DIGITS: Final = 8
_SIZE: Final = len(_LEAD) + _DIGITS + len(_END)
_MAX_WRONG_BYTES: Final = 6
"""A tail that differs from ours in so few bytes is ours and damaged; that of a foreign file differs in more."""


class FileDamaged(StorageError):
    """A file whose checksum does not fit its content."""


def seal(data: bytes) -> bytes:
    """A JSON object with its checksum; `data` must not be the empty object."""
    body = data.rstrip()
    if not body.endswith(b"}"):
        raise ValueError("only JSON objects can be sealed")
    body = body[:-1].rstrip()
    return body + _LEAD + f"{checksum(body):08x}".encode() + _END + b"\n"


def unseal(data: bytes, path: Path | None, cure: str = "restore a copy of it, or remove it") -> bytes:
    """The JSON object that was sealed; raises `FileDamaged`. `path` and `cure` are for messages."""
    text = data.rstrip()
    body, tail = text[:-_SIZE], text[-_SIZE:]
    lead, digits, end = tail[: len(_LEAD)], tail[len(_LEAD) : -len(_END)], tail[-len(_END) :]
    wrong = sum(a != b for a, b in zip(lead + end, _LEAD + _END, strict=False))
    if len(tail) < _SIZE or wrong > _MAX_WRONG_BYTES:
        if not text.endswith(b"}"):
            raise FileDamaged(f"{path or 'the file'} is damaged: it is cut off; {cure}")
        log.info("%s has no checksum: an earlier floop wrote it", path or "a file")
        return data
    if wrong or digits != f"{checksum(body):08x}".encode():
        raise FileDamaged(f"{path or 'the file'} is damaged: its checksum does not fit its content; {cure}")
    return body + b"}"
