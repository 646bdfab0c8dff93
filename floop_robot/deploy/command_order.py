"""CommandOrder: what was commanded last, and for whom, so that a command which had to wait undoes none that came since."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import msgspec

from floop_robot.deploy.registry import FLEET, Registry
from floop_robot.spec.errors import FloopError


class StaleCommand(FloopError):
    """Another command for the same robots came while this one waited."""


class _Taken(msgspec.Struct, frozen=True):
    """A command that was carried out."""

    place: int
    """Where the audit ended when it was taken; right behind it, if it did not have to wait."""
    who: str
    what: str
    stamp_ns: int


class CommandOrder:
    """By scope: a robot, or `FLEET`. In memory alone: whoever makes it notes when that began."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._of: dict[str, _Taken] = {}

    def end(self) -> int:
        """The place of a command that did not wait: where the audit ends now."""
        return self._registry.audit_after(-1, 0)[1]

    def note(self, scope: str, who: str, what: str, now_ns: int, place: int) -> None:
        """A command for `scope` was carried out. Its place is where it was taken: one taken later may follow it."""
        self._of[scope] = _Taken(place, who, what, now_ns)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is noted within the block is forgotten when it raises."""
        before = dict(self._of)
        try:
            yield
        except BaseException:
            self._of = before
            raise

    def refuse_stale(self, scope: str, accepted_at: int) -> None:
        """Raise `StaleCommand` when a command for `scope` came after `accepted_at` (-1: it did not wait).

        What was commanded for one robot alone is not undone by a command for the fleet: that robot keeps it. A place
        beyond the end is one in another registry, such as the one before a restore: all that is known came after.
        """
        if accepted_at < 0:
            return
        is_elsewhere = accepted_at > self.end()
        for since in (self._of.get(FLEET), self._of.get(scope)):
            if since is not None and (is_elsewhere or accepted_at < since.place):
                when = time.strftime("%H:%M:%S", time.localtime(since.stamp_ns / 1e9))
                raise StaleCommand(
                    f"not done: {since.who} {since.what} at {when}, while this command waited; "
                    "give it again if it is still wanted"
                )
