"""What robots and fleet share of the e-stop: how it is described, inputs that say stop, and texts of people."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import msgspec

RECENT_S: Final = 1.0
"""An input that said stop so recently still holds: of several publishers one may say stop, another not."""
MAX_TEXT: Final = 500
"""Characters of names and reasons that are kept."""
MAX_ID: Final = 200
"""Characters of a `request_id`."""
_BETWEEN: Final = "; "


class EstopState(msgspec.Struct, frozen=True, kw_only=True):
    """The e-stop latch of one robot."""

    latched: bool = False
    on_disk: bool = False
    """A restart of the safety process would find what is said here."""
    start_required: bool = False
    """It was reset, and stands until a separate start. Real arms only."""
    hardware_stop: bool = False
    """A stop input says stop at present; no reset is taken meanwhile."""
    since_ns: int = 0
    """Wall clock; 0 when it was neither latched nor reset ever."""
    who: str = ""
    """Who latched or reset it."""
    why: str = ""
    stop_id: str = ""
    """Random name of the newest stop, also after its reset; empty before the first."""
    request_id: str = ""
    """Of that stop; may be empty."""
    nonce: str = ""
    """A reset must name one that the robot published within the last `estop_latch.NONCE_LIFETIME_S`."""


class StopInputs:
    """Inputs that are levels: true stops on its rising edge, and while one is true no reset is taken."""

    def __init__(self, stop: Callable[[str, str], object], clock: Callable[[], float] = time.monotonic) -> None:
        """`stop(who, why)` stops, and never waits."""
        self._stop, self._clock = stop, clock
        self._holds_until_s: dict[str, float] = {}

    def set(self, name: str, is_true: bool) -> None:
        """Take the level of an input."""
        now_s, until_s = self._clock(), self._holds_until_s.get(name, -math.inf)
        self._holds_until_s[name] = math.inf if is_true else min(until_s, now_s + RECENT_S)
        if is_true and until_s <= now_s:
            self._stop(name, "the input says stop")

    def held(self) -> str:
        """An input that says stop at present; empty for none."""
        now_s = self._clock()
        return next((name for name, until_s in tuple(self._holds_until_s.items()) if until_s > now_s), "")


def short_id(text: str) -> str:
    """The id of a request; one longer than `MAX_ID` counts as none."""
    return printable(text) if len(text) <= MAX_ID else ""


def join_texts(before: str, text: str, length: int = MAX_TEXT) -> str:
    """Both texts, each once, in so many characters and one printable line.

    Where there is no room for both, `text` has half of it at least: the first to speak can't silence the next.
    """
    text = printable(text).strip()[:length]
    if text in ("", *before.split(_BETWEEN)):
        return before
    if not before:
        return text
    text = text[: max(length // 2, length - len(_BETWEEN) - len(before))]
    return f"{before[: length - len(_BETWEEN) - len(text)]}{_BETWEEN}{text}"


def printable(text: str) -> str:
    """The text in one line.

    A line break or an escape sequence could forge a line of logs, of the audit, or of a question to an operator.
    """
    return "".join(c if c.isprintable() else " " for c in text.encode(errors="replace").decode())
