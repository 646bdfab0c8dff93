"""DoctorCheck: one line of `floop doctor`."""

from __future__ import annotations

import msgspec


class DoctorCheck(msgspec.Struct, frozen=True):
    """The result of one check; `required`: floop does not run without it; `cure`: what the user can do."""

    name: str
    ok: bool
    required: bool
    detail: str
    cure: str = ""
