"""PolicyBuffer: the current, previous and next policy of a robot, swapped between two control steps.

`PolicyInstaller` offers policies that it has verified and loaded; the control thread takes them. They share single
references, whose assignment is atomic, so the control loop never waits and never sees half a policy.
"""

from __future__ import annotations

from collections import deque

import msgspec

from floop_robot.core import PolicyActor
from floop_robot.spec.calibration import NO_OFFSET, Offset

MAX_FIRST_STEPS = 64
"""First steps that are kept. Versions come seconds apart, and only the newest is asked for."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that may act, with its version."""

    version: int
    actor: PolicyActor
    correction_m: Offset = NO_OFFSET
    """What this robot subtracts from perceived object positions while it acts."""


class PolicyBuffer:
    """Holds the policy that acts now, the one before, and the one that acts from the next step on."""

    def __init__(self) -> None:
        self._current: Policy | None = None
        self._previous: Policy | None = None
        self._candidates: deque[Policy] = deque(maxlen=1)  # a newer one replaces one that still waits
        self._next: Policy | None = None
        """The candidate that waits for the end of the episode; the control thread's alone."""
        self._acted: Policy | None = None
        self._last_fallback: tuple[int, int] | None = None
        self._first_steps: deque[tuple[int, float]] = deque(maxlen=MAX_FIRST_STEPS)

    @property
    def current(self) -> Policy | None:
        """The policy that acts."""
        return self._current

    @property
    def previous(self) -> Policy | None:
        """The policy that acted before; None if there is none."""
        return self._previous

    def offer(self, version: int, actor: PolicyActor, correction_m: Offset = NO_OFFSET) -> None:
        """Swap in a verified policy at the next step; replaces one that still waits."""
        self._candidates.append(Policy(version=version, actor=actor, correction_m=correction_m))

    def take(self, correction_m: Offset | None = None) -> Policy | None:
        """The policy of the step that begins now. For the control thread only, between two steps.

        `correction_m`: of the running episode, None between episodes. A policy with another one waits for its end, so
        that the rows of an episode mean the same from first to last, and count for the policy that saw them so.
        """
        if self._candidates:
            self._next = self._candidates.popleft()  # from here on no other thread may replace it
        if self._next is not None and correction_m in (None, self._next.correction_m):
            self._previous, self._current, self._next = self._current, self._next, None
        return self._current

    def acted(self, policy: Policy, now_s: float) -> None:
        """Note a control step taken on `policy` at `now_s` (steady clock)."""
        if policy is not self._acted:
            self._acted = policy
            self._first_steps.append((policy.version, now_s))

    def fall_back(self) -> Policy | None:
        """Go back to the previous policy, because the current one failed; None if there is no previous one."""
        bad, self._current, self._previous = self._current, self._previous, None
        if bad is not None:
            self._last_fallback = bad.version, self._current.version if self._current else 0
        return self._current

    @property
    def last_fallback(self) -> tuple[int, int] | None:
        """The version that failed last and the one that acts instead (0: none); None if none failed."""
        return self._last_fallback

    def first_step_s(self, version: int) -> float | None:
        """Steady-clock time of the first control step on `version`; None before it. From any thread."""
        return dict(reversed(self._first_steps.copy())).get(version)
