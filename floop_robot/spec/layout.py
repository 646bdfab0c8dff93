"""Layout: what each number of an observation or an action means, and where it stands in the vector."""

from __future__ import annotations

from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A named run of numbers that share unit, frame and range.

    `offset` and `scale` are the normalization a policy applies to raw values: `(x - offset) / scale`.
    """

    name: str
    size: int
    unit: str
    frame: str = ""
    low: float
    high: float
    offset: float = 0.0
    scale: float = 1.0
    meaning: str = ""


class Layout(msgspec.Struct, frozen=True, dict=True):
    """Fields in order; the one home of every index, range and scale of a vector."""

    fields: tuple[Field, ...]

    @cached_property
    def size(self) -> int:
        """Length of the vector."""
        return sum(f.size for f in self.fields)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each field stands."""
        out, start = {}, 0
        for f in self.fields:
            out[f.name] = slice(start, start + f.size)
            start += f.size
        return out

    def _spread(self, attribute: str) -> Vector:
        values = [np.full(f.size, getattr(f, attribute), np.float32) for f in self.fields]
        return np.concatenate(values) if values else np.zeros(0, np.float32)

    @cached_property
    def low(self) -> Vector:
        """Smallest legal value of each number, shape (size,)."""
        return self._spread("low")

    @cached_property
    def high(self) -> Vector:
        """Largest legal value of each number, shape (size,)."""
        return self._spread("high")

    @cached_property
    def offset(self) -> Vector:
        """Normalization offset, shape (size,)."""
        return self._spread("offset")

    @cached_property
    def scale(self) -> Vector:
        """Normalization scale, shape (size,)."""
        return self._spread("scale")

    def pack(self, **parts: object) -> Vector:
        """Put named parts into one float32 vector, clipped to the legal range; missing parts are zero."""
        out = np.zeros(self.size, np.float32)
        for name, value in parts.items():
            out[self.slices[name]] = value  # type: ignore[call-overload]
        return np.clip(out, self.low, self.high, out=out)
