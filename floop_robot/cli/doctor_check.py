"""One finding of `floop doctor`."""

from __future__ import annotations

import msgspec


class DoctorCheck(msgspec.Struct, frozen=True):
    """One line of the doctor's."""

    name: str
    ok: bool
    required: bool
    detail: str
    cure: str = ""
