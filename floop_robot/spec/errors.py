"""The errors a user can cause: one clear line each, saying what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class FloopError(Exception):
    """Base of every error that is shown to a user as one line and ends a command with a non-zero status."""


class UnknownName(FloopError):
    """A name that nothing answers to (task, robot, shift, field, policy version, …)."""

    SHOWN = 12
    """Of more known names than that only the nearest few are listed."""

    def __init__(self, what: str, name: object, known: Iterable[str], where: str = "") -> None:
        hint = did_you_mean(str(name), known, self.SHOWN)
        super().__init__(f"unknown {what} {str(name)!r}{f' in {where}' if where else ''}; {hint}")


class ConfigError(FloopError):
    """A configuration that cannot be used."""


class ContractMismatch(FloopError):
    """Data or a policy made for another contract than the one in force here."""

    def __init__(self, what: str, has: str, where: str, wants: str, cure: str) -> None:
        super().__init__(f"{what} has {has}, but {where} has {wants}. {cure}")


class BundleRefused(FloopError):
    """A policy bundle that must not be used (truncated, tampered with, NaN, wrong shape, failed checks)."""


class StorageError(FloopError):
    """A disk that is full, unwritable or damaged."""


class EnvironmentFailed(FloopError):
    """A training environment that raised, ended, or returned what can't be learned from."""


class CallRefused(FloopError):
    """An operator's call that is not carried out; the text says why."""


def did_you_mean(name: str, known: Iterable[str], most: int = UnknownName.SHOWN) -> str:
    """`did you mean 'x'?` where one known name is near, else the known names; of more than `most`, the nearest few.

    A name with another number is not taken for a slip of the pen: whoever typed robot_7 may have meant any robot.
    """
    known = sorted(known)
    if close := nearest(name, known, 0.5):
        return f"did you mean {close!r}?"
    if len(known) > most:
        known = [*difflib.get_close_matches(name, known, n=4, cutoff=0.0), f"… ({len(known)} in all)"]
    return f"known: {', '.join(known) or 'none'}"


def nearest(name: str, known: Iterable[str], cutoff: float) -> str:
    """The one known name that is nearest, from a likeness of `cutoff` on; empty when two are equally near.

    Numbers in `name` must be those of the known one.
    """
    numbers = re.findall(r"\d+", name)
    alike = [each for each in known if not numbers or re.findall(r"\d+", each) == numbers]
    close = difflib.get_close_matches(name, alike, n=2, cutoff=cutoff)
    likeness = [difflib.SequenceMatcher(None, each, name).ratio() for each in close]
    return close[0] if close and likeness.count(likeness[0]) == 1 else ""
