"""Repair of SQLite's write-ahead log: SQLite drops, without a word, every commit behind the first damaged frame.

The log is a header and frames: a page number, the size after a commit, two salts, two sums, a page. The sums of
a frame continue those of the frame before it (sqlite.org/fileformat2.html#walformat). So they tell which bit of a frame
was flipped, and that bit is flipped back. Where two bits of a page look alike neither is, and the row's checksum tells.
Damage beyond one bit in a frame cannot be mended, and is named.
"""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path
from typing import Final

import msgspec

log = logging.getLogger(__name__)

_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_MAGIC: Final = 0x377F0682
"""The lowest bit says that sums are of big-endian words."""
_MASK: Final = 2**32 - 1
_MAX_BYTES: Final = 256 << 20
"""SQLite folds the log in at 4 MB; a larger one is left to it."""

Sums = tuple[int, int]


class _Log(msgspec.Struct, frozen=True):
    page_bytes: int
    order: str
    """Of the words that are summed: `<` or `>`."""
    salts: bytes
    sums: Sums

    @property
    def frame_bytes(self) -> int:
        return _FRAME_HEADER_BYTES + self.page_bytes

    def parts(self, at: int) -> tuple[range, range]:
        """What is summed of the frame at `at`."""
        return range(at, at + 8), range(at + _FRAME_HEADER_BYTES, at + self.frame_bytes)


class _Fix(msgspec.Struct, frozen=True):
    """Bytes that make a frame sound, and its sums then."""

    sums: Sums
    place: int
    new: bytes
    """Empty: it is sound."""

    def apply(self, data: bytearray, mended: list[int]) -> None:
        if self.new:
            data[self.place : self.place + len(self.new)] = self.new
            mended.append(self.place)


def repair_wal(database: Path) -> None:
    """Mend the log beside a database that nobody has open; what it cannot mend is logged. Raises OSError."""
    path = database.with_name(database.name + "-wal")
    if not path.is_file() or not _HEADER_BYTES < path.stat().st_size <= _MAX_BYTES:
        return
    data = bytearray(path.read_bytes())
    mended, damaged = _mend(data)
    if mended:
        log.error("%s: flipped bits in the frames at bytes %s, mended by its sums", path, ", ".join(map(str, mended)))
        with path.open("r+b") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    if damaged >= 0:
        log.error("%s is damaged from byte %d on: commits behind it are lost, if a power cut left any", path, damaged)


def _mend(data: bytearray) -> tuple[list[int], int]:
    """Mend single bits in `data`; returns their bytes, and where damage begins that cannot be mended, or -1."""
    mended: list[int] = []
    header = _mend_header(data, mended)
    if header is None:
        return mended, 0
    size = header.frame_bytes
    starts = range(_HEADER_BYTES, len(data) - size + 1, size)
    # Frames behind the last commit have the salts of earlier logs.
    end = max((at for at in starts if _distance(data[at + 8 : at + 16], header.salts) <= 1), default=-1)
    sums = written = header.sums
    for at in starts:
        if at > end:
            break
        salts = slice(at + 8, at + 16)
        wrong_salts = data[salts] != header.salts
        fixes = _fixes(header.order, sums, data, header.parts(at), at + 16)
        if at < end and any(fix.new for fix in fixes):  # the next frame tells which explanation is right
            fixes = [fix for fix in fixes if _is_sound(data, at + size, header, fix.sums)]
        if not fixes or _distance(data[salts], header.salts) > 1:
            # Without a commit behind it, this is what a killed process had not finished.
            commits = any(any(data[later + 4 : later + 8]) for later in range(at, end + 1, size))
            return mended, at if commits else -1
        fix = fixes[0]
        fix.apply(data, mended)
        if wrong_salts:
            data[salts] = header.salts
            mended.append(at + 8)
        # Where one of several bits may be wrong, the page stays as it is, and all sums behind it change.
        sums, written = fix.sums, _add(header.order, written, _summed(data, header.parts(at)))
        data[at + 16 : at + 24] = struct.pack(">2I", *written)
    return mended, -1


def _mend_header(data: bytearray, mended: list[int]) -> _Log | None:
    possible = []
    for order in "<>":  # the bit that tells may be the flipped one
        for fix in _fixes(order, (0, 0), data, (range(24),), 24):
            copy = bytearray(data[:_HEADER_BYTES])
            fix.apply(copy, [])
            magic, _, page_bytes = struct.unpack(">3I", copy[:12])
            if magic == _MAGIC | (order == ">") and page_bytes >= 512:
                possible.append((fix, _Log(page_bytes, order, bytes(copy[16:24]), fix.sums)))
    for fix, header in possible:
        if header.salts == data[_HEADER_BYTES + 8 : _HEADER_BYTES + 16] and _is_sound(
            data, _HEADER_BYTES, header, header.sums
        ):
            fix.apply(data, mended)
            return header
    for fix, header in possible[:1]:
        fix.apply(data, mended)
        return header
    return None


def _is_sound(data: bytearray, at: int, header: _Log, sums: Sums) -> bool:
    """Whether a whole frame begins at `at` whose sums continue `sums`."""
    if at + header.frame_bytes > len(data):
        return False
    return any(not fix.new for fix in _fixes(header.order, sums, data, header.parts(at), at + 16, only_sound=True))


def _fixes(
    order: str, sums: Sums, data: bytearray, parts: tuple[range, ...], stored_at: int, only_sound: bool = False
) -> list[_Fix]:
    """What single flipped bit explains that `sums`, continued over `parts`, are not those stored at `stored_at`."""
    summed = _summed(data, parts)
    computed, stored = _add(order, sums, summed), struct.unpack_from(">2I", data, stored_at)
    if computed == stored:
        return [_Fix(computed, stored_at, b"")]
    if only_sound:
        return []
    fixes = []
    packed = struct.pack(">2I", *computed)
    if _distance(packed, data[stored_at : stored_at + 8]) == 1:
        fixes.append(_Fix(computed, stored_at, packed))
    bits = _flipped_bits(order, summed, computed, stored)
    places = [byte for part in parts for byte in part]
    if len(bits) == 1:
        place = places[bits[0] // 8]
        fixes.append(_Fix(stored, place, bytes([data[place] ^ 1 << bits[0] % 8])))
    elif bits and min(bits) >= 8 * len(parts[0]) and not fixes:
        fixes.append(_Fix(stored, stored_at, packed))
    return fixes


def _summed(data: bytearray, parts: tuple[range, ...]) -> bytes:
    return b"".join(data[part.start : part.stop] for part in parts)


def _add(order: str, sums: Sums, data: bytes | bytearray) -> Sums:
    first, second = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even, odd in zip(words, words, strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second


def _flipped_bits(order: str, data: bytes, computed: Sums, stored: Sums) -> list[int]:
    """Bits of `data` (8 × byte + bit) any of which makes its sums those stored; the upper bits of words look alike."""
    found = []
    missing = (stored[0] - computed[0]) & _MASK, (stored[1] - computed[1]) & _MASK
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    effect: tuple[Sums, ...] = (1, 1), (0, 1)  # of one more in the last pair's even and odd word, on both sums
    for place in range(len(words) - 2, -1, -2):
        for offset, (a, b) in enumerate(effect):
            word = words[place + offset]
            for bit in range(32):
                delta = 1 << bit if not word >> bit & 1 else -(1 << bit)
                if (a * delta & _MASK, b * delta & _MASK) == missing:
                    byte = 3 - bit // 8 if order == ">" else bit // 8
                    found.append(8 * (4 * (place + offset) + byte) + bit % 8)
        # One pair earlier: what is added to the sums goes through one more pair of additions.
        effect = tuple(((a + b) & _MASK, (a + 2 * b) & _MASK) for a, b in effect)
    return found


def _distance(one: bytes | bytearray, other: bytes | bytearray) -> int:
    """Number of bits in which they differ."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
