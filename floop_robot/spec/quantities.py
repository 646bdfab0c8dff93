"""What is plausible for a quantity in SI units: one table, by the unit that a field's name ends with.

The ranges are wider than any arm that we know of. They are narrow enough that degrees and millimetres fall outside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

_MILLI = 1e-3


class Quantity(msgspec.Struct, frozen=True):
    """A range in an SI unit, and the other units that people write instead."""

    low: float
    high: float
    unit: str
    others: Mapping[str, float] = MappingProxyType({})
    """Name of another unit → what one of it is in `unit`."""

    def problem(self, value: float) -> str:
        """What is wrong with `value`, and the cure; empty when it is plausible."""
        if not math.isfinite(value):
            return f"{value} is not a finite number; write one from {self}"
        if self.low <= value <= self.high:
            return ""
        if self.low > 0 >= value:
            return f"{value:g} must be above 0; write {self}"
        for other, factor in self.others.items():
            if abs(value) > self.high and self.low <= value * factor <= self.high:
                cure = f"it looks like {other}: write {value * factor:.4g} {self.unit}"
                return f"{value:g} is not plausible ({self}); {cure}"
        return f"{value:g} is not plausible; write {self}"

    def __str__(self) -> str:
        """The range in words."""
        return f"{self.low:.4g} to {self.high:.4g} {self.unit}"


_DEGREES: Final = MappingProxyType({"degrees": math.pi / 180})
_LENGTHS: Final = MappingProxyType({"millimetres": _MILLI, "centimetres": 1e-2})

QUANTITIES: Final[Mapping[str, Quantity]] = MappingProxyType(
    {
        "rad_s2": Quantity(0.01, 60.0, "rad/s²", MappingProxyType({"degrees per s²": math.pi / 180})),
        "rad_s": Quantity(0.001, 30.0, "rad/s", MappingProxyType({"degrees per second": math.pi / 180})),
        "error_rad": Quantity(0.001, 3.0, "rad", _DEGREES),
        "rad": Quantity(-6 * math.pi, 6 * math.pi, "rad", _DEGREES),
        "m_s": Quantity(0.001, 2.0, "m/s", MappingProxyType({"millimetres per second": _MILLI})),
        "width_m": Quantity(0.001, 0.5, "m", _LENGTHS),
        "size_m": Quantity(0.001, 1.0, "m", _LENGTHS),
        "m": Quantity(-10.0, 10.0, "m", _LENGTHS),
        "nm": Quantity(0.01, 3000.0, "N·m", MappingProxyType({"newton millimetres": _MILLI})),
        "n": Quantity(0.1, 3000.0, "N", MappingProxyType({"millinewtons": _MILLI})),
        "n_per_effort": Quantity(1e-3, 1e5, "N per unit of effort"),
        "error_s": Quantity(0.05, 10.0, "s", MappingProxyType({"milliseconds": _MILLI})),
        "timeout_s": Quantity(0.01, 60.0, "s", MappingProxyType({"milliseconds": _MILLI})),
        "start_s": Quantity(0.001, 5.0, "s", MappingProxyType({"milliseconds": _MILLI})),
        "s": Quantity(0.001, 60.0, "s", MappingProxyType({"milliseconds": _MILLI})),
        "closed": Quantity(-6.3, 6.3, "rad or m", _DEGREES),
        "open": Quantity(-6.3, 6.3, "rad or m", _DEGREES),
    }
)
"""The end of a field's name → what is plausible for it; the longest end that fits counts."""


def quantity_of(path: str) -> Quantity | None:
    """The quantity of a field by its name; None when its name tells none."""
    words = path.rpartition(".")[2].split("_")
    ends = ("_".join(words[i:]) for i in range(len(words)))
    return next((QUANTITIES[end] for end in ends if end in QUANTITIES), None)
