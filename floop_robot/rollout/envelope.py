"""The base of every message of the roll-out, and how it becomes bytes."""

from __future__ import annotations

import msgspec

from floop_robot.spec.envelope import MessageRefused, seal, unseal

__all__ = ["Message", "MessageRefused", "seal", "unseal"]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of every message; the class name is the tag."""
