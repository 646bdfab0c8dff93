"""PolicyBuffer: current, previous and candidate policy of a robot; swapped between two control steps.

One thread offers policies that it has checked and loaded aside (`rollout.PolicyUpdater`), the control thread takes.
They share single references, whose assignment is atomic: the control loop never waits and never sees half a policy.
"""

from __future__ import annotations

from collections import deque

import msgspec

from floop_robot.core import PolicyActor

MAX_STORED_STEPS = 64
"""First steps that are remembered; versions come seconds apart, and only the newest is asked for."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that may act."""

    version: int
    actor: PolicyActor


class PolicyBuffer:
    """Holds what acts now, what acted before, and what acts from the next step on."""

    def __init__(self) -> None:
        self._current: Policy | None = None
        self._previous: Policy | None = None
        self._candidates: deque[Policy] = deque(maxlen=1)  # a newer candidate replaces one that still waits
        self._acted: Policy | None = None
        self._last_fallback: tuple[int, int] | None = None
        self._first_steps: deque[tuple[int, float]] = deque(maxlen=MAX_STORED_STEPS)

    @property
    def current(self) -> Policy | None:
        """What acts."""
        return self._current

    @property
    def previous(self) -> Policy | None:
        """What acted before, still in memory; None if there is none."""
        return self._previous

    def offer(self, version: int, actor: PolicyActor) -> None:
        """Queue a policy, checked by the caller, for the next step; one that still waits is replaced."""
        self._candidates.append(Policy(version=version, actor=actor))

    def take(self) -> Policy | None:
        """The policy of the step that begins now. Only the control thread calls this, between two steps."""
        if self._candidates:
            self._previous, self._current = self._current, self._candidates.popleft()
        return self._current

    def acted(self, policy: Policy, now_s: float) -> None:
        """A control step was taken on `policy` at `now_s` (steady clock)."""
        if policy is not self._acted:
            self._acted = policy
            self._first_steps.append((policy.version, now_s))

    def fall_back(self) -> Policy | None:
        """The current policy misbehaved: the previous one acts from the next step on, or none if there is none."""
        bad, self._current, self._previous = self._current, self._previous, None
        if bad is not None:
            self._last_fallback = bad.version, self._current.version if self._current else 0
        return self._current

    @property
    def last_fallback(self) -> tuple[int, int] | None:
        """The version that misbehaved last, and the one that acts instead (0: none); None if none did."""
        return self._last_fallback

    def first_step_s(self, version: int) -> float | None:
        """Steady-clock time of the first control step taken on `version`; None before it. From any thread."""
        return dict(reversed(self._first_steps.copy())).get(version)
