"""PolicySlots: current, previous and candidate policy of a robot; swapped between two control steps.

One thread offers bundles (checks, loads aside), the control thread takes. They share single references, whose
assignment is atomic: the control loop never waits and never sees half a policy.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import msgspec
import numpy as np

from floop_robot.bundle.bundle import Bundle
from floop_robot.bundle.verify import verify
from floop_robot.spec.ids import Ids
from floop_robot.spec.layout import Vector
from floop_robot.spec.task import TaskSpec

MAX_RECEIPTS = 256
"""Receipts that wait to be reported; versions come seconds apart, and the newest are the ones that count."""


class Acting(Protocol):
    """Whatever turns a raw observation into an action, in microseconds."""

    def mean(self, observation: Vector) -> Vector:
        """Action without noise, in [-1, 1]."""
        ...

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        """Action with noise, and its log-density."""
        ...


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that may act."""

    version: int
    sha256: str = ""
    actor: Acting


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The first control step of a version; what tells the fleet that it is really in force."""

    version: int
    sha256: str
    mono_s: float
    """Steady clock of this host."""
    stamp_ns: int
    fell_back: bool = False
    """It came back because its successor misbehaved."""


class PolicySlots:
    """Holds what acts now, what acted before, and what acts from the next step on."""

    def __init__(self, task: TaskSpec, ids: Ids, robot: str) -> None:
        self._task, self._ids, self._robot = task, ids, robot
        self._current: Policy | None = None
        self._previous: Policy | None = None
        self._candidates: deque[Policy] = deque(maxlen=1)  # a newer candidate replaces one that still waits
        self._newest = 0
        self._receipts: deque[Receipt] = deque(maxlen=MAX_RECEIPTS)

    @property
    def current(self) -> Policy | None:
        """What acts."""
        return self._current

    @property
    def newest_version(self) -> int:
        """The highest version accepted here; 0 before the first. Whatever falls back, versions only grow."""
        return self._newest

    def offer(self, bundle: Bundle) -> tuple[str, ...]:
        """Check a bundle, load it aside and queue it for the next step; an earlier candidate that waits is replaced.

        Returns notes worth showing. Raises `BundleRefused` or `ContractMismatch`; what acts is untouched then.
        """
        verified = verify(bundle, self._task, self._ids, where=self._robot, newer_than=self._newest or None)
        manifest = bundle.manifest
        self.install(Policy(version=manifest.version, sha256=manifest.sha256, actor=verified.actor))
        return verified.notes

    def install(self, policy: Policy) -> None:
        """Queue a policy that was checked elsewhere for the next step."""
        self._newest = max(self._newest, policy.version)
        self._candidates.append(policy)

    def take(self, now_s: float, stamp_ns: int) -> Policy | None:
        """The policy of the step that begins now. Only the control thread calls this, between two steps."""
        if self._candidates:
            self._previous, self._current = self._current, self._candidates.popleft()
            self._receipt(self._current, now_s, stamp_ns)
        return self._current

    def fall_back(self, now_s: float, stamp_ns: int) -> Policy | None:
        """The current policy misbehaved: the previous one acts from the next step on, or none if there is none."""
        self._current, self._previous = self._previous, None
        if self._current is not None:
            self._receipt(self._current, now_s, stamp_ns, fell_back=True)
        return self._current

    def receipts(self) -> list[Receipt]:
        """Receipts since the last call, oldest first; for the thread that reports them."""
        return [self._receipts.popleft() for _ in range(len(self._receipts))]

    def _receipt(self, policy: Policy, now_s: float, stamp_ns: int, *, fell_back: bool = False) -> None:
        self._receipts.append(
            Receipt(
                version=policy.version, sha256=policy.sha256, mono_s=now_s, stamp_ns=stamp_ns, fell_back=fell_back
            )
        )
