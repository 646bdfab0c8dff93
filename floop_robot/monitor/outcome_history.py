"""OutcomeHistory: latest outcomes of one class of objects, over the fleet or on one robot, and whether it fails there.

A class *fails* with `MIN_FAILURES` failures and less than `FAILING_SUCCESS` among its latest `WINDOW` episodes, or when
the latest `FAILURES_IN_A_ROW` failed. It is *resolved* when it reaches `RESOLVED_SUCCESS` again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

import msgspec

WINDOW = 20
"""Latest episodes that decide whether a class fails."""
MIN_FAILURES = 3
"""One or two failures happen to every policy."""
FAILING_SUCCESS = 0.75
"""A class fails when its live success is below this. How often that is false: `benchmarks/failure_monitor.py`."""
FAILURES_IN_A_ROW = 4
"""So many failures in a row make a class failing, however well it went before.

That finds a robot that falls from 97 to 6 % after 4 episodes (median) instead of 6.
"""
RESOLVED_SUCCESS = 0.975
"""A failing class is resolved when its live success reaches this: until then the gate tries better versions on it."""

EpisodeKey = tuple[str, str, int]
"""Robot, boot, episode."""


class CountedEpisode(msgspec.Struct, array_like=True):
    """An episode that counts, and whether its class was failing before it."""

    key: EpisodeKey
    success: bool
    was_failing: bool


class HistoryState(msgspec.Struct, array_like=True):
    """An `OutcomeHistory` as plain values."""

    failing: bool
    is_whole: bool
    episodes: list[CountedEpisode]


class OutcomeHistory:
    """Outcomes in order of arrival, and what they say."""

    def __init__(self, resolved_window: int, capacity: int) -> None:
        """`resolved_window`: latest episodes that decide whether a failing class is resolved; `capacity`: kept ones."""
        self.failing = False
        self._resolved_window, self.capacity = resolved_window, capacity
        self._episodes: deque[CountedEpisode] = deque(maxlen=capacity)
        self._is_whole = True
        """Whether every episode is stored that can still matter."""

    def state(self) -> HistoryState:
        """What `restore` takes."""
        return HistoryState(self.failing, self._is_whole, list(self._episodes))

    def restore(self, state: HistoryState) -> OutcomeHistory:
        """Go on from this state; returns itself."""
        self.failing, self._is_whole = state.failing, state.is_whole
        self._episodes = deque(state.episodes, maxlen=self.capacity)
        return self

    def add(self, key: EpisodeKey, success: bool) -> None:
        """Count an episode."""
        self._is_whole = self._is_whole and len(self._episodes) < self.capacity
        self._episodes.append(CountedEpisode(key, success, self.failing))
        if success is self.failing:  # another failure of what fails, or success of what succeeds, changes nothing
            self.failing = _fails(self.latest(self._resolved_window if self.failing else WINDOW), self.failing)
            if success and not self.failing:
                self._forget_before_resolution()

    def _forget_before_resolution(self) -> None:
        """Failures from before must not make it fail again at the next one."""
        if self._resolved_window < WINDOW:
            self._is_whole = True
            while len(self._episodes) > max(self._resolved_window, 1):
                self._episodes.popleft()

    def correct(self, key: EpisodeKey, success: bool) -> bool:
        """Change an outcome and decide again from there on; returns whether anything changed."""
        for index, episode in enumerate(self._episodes):
            if episode.key == key and episode.success != success:
                episode.success = success
                self._decide_from(index)
                return True
        return False

    def leave_out(self, robots: Sequence[str]) -> None:
        """Forget the episodes of robots that fail alone, and decide as if they had never been counted."""
        kept = [episode for episode in self._episodes if episode.key[0] not in robots]
        if len(kept) < len(self._episodes):
            self._episodes = deque(kept, maxlen=self.capacity)
            if self._is_whole:
                self.failing = False
                if kept:
                    kept[0].was_failing = False
            self._decide_from(0)

    def __contains__(self, key: EpisodeKey) -> bool:
        return any(episode.key == key for episode in self._episodes)

    def latest(self, count: int, without: Sequence[str] = ()) -> list[bool]:
        """Outcomes of the latest `count` episodes, newest first; those of some robots may be left out."""
        kept = (e.success for e in reversed(self._episodes) if e.key[0] not in without)
        return list(islice(kept, count))

    def _decide_from(self, first: int) -> None:
        """Decide again after this episode and each later one.

        Not where the window is partly forgotten: what is left of it may be a few successes. What was known stays.
        To begin to fail takes a shorter window than to be resolved.
        """
        episodes = list(self._episodes)
        if not self._is_whole:
            first = max(first, self._resolved_window if self.failing else WINDOW)
        if first >= len(episodes):
            return
        failing = episodes[first].was_failing
        for end in range(first + 1, len(episodes) + 1):
            episodes[end - 1].was_failing = failing
            window = self._resolved_window if failing else WINDOW
            failing = _fails([episode.success for episode in episodes[end - 1 :: -1][:window]], failing)
        self.failing = failing


def _fails(newest_first: Sequence[bool], was_failing: bool) -> bool:
    failures = newest_first.count(False)
    success = 1.0 - failures / len(newest_first)
    if was_failing:
        return success < RESOLVED_SUCCESS
    in_a_row = newest_first[:FAILURES_IN_A_ROW]
    return failures >= MIN_FAILURES and (success < FAILING_SUCCESS or not any(in_a_row))
