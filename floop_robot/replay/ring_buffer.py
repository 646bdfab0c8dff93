"""RingBuffer: transitions in one matrix, in which each robot has a ring of its own.

So a robot that reports ten times as much as the others can't push their rows out.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from floop_robot.replay.transitions import Transitions
from floop_robot.stream.columns import Matrix

_UNKNOWN, _FAILED, _SUCCEEDED = range(3)
MAX_OPEN = 1024
"""Episodes whose end is awaited. Bounded: the end of a killed robot's episode never comes."""
MAX_ROBOTS = 160
"""Robots and explorers whose rows are kept; of more, the one heard longest ago is forgotten. Names can be made up."""
FIRST_ROWS = 256
"""What a robot gets at first; each time it is full it gets `GROWTH` times as much, up to its quota."""
GROWTH = 4
_NONE: NDArray[np.int64] = np.zeros(0, np.int64)
EpisodeKey = tuple[str, str, int]
"""Robot, boot, episode."""


class Normalizer:
    """`(x - offset) / scale`, applied once when a row is stored instead of at every draw."""

    def __init__(self, offset: Matrix, scale: Matrix) -> None:
        self._offset = np.asarray(offset, np.float32)
        self._inverse = np.float32(1.0) / np.asarray(scale, np.float32)

    def __call__(self, observations: Matrix) -> Matrix:
        """Normalized copies of raw observations, shape (..., obs_size)."""
        out: Matrix = (np.asarray(observations, np.float32) - self._offset) * self._inverse
        return out


class RingBuffer:
    """Rows `[obs | action | next_obs | reward | terminated]`, normalized; a segment of `quota` rows for each robot."""

    def __init__(self, obs_size: int, action_size: int, quota: int, normalizer: Normalizer) -> None:
        self.obs_size, self.action_size, self.quota = obs_size, action_size, quota
        self._normalize = normalizer
        self._matrix: Matrix = np.zeros((0, 2 * obs_size + action_size + 2), np.float32)
        self._outcome: NDArray[np.int8] = np.zeros(0, np.int8)
        self._segments: dict[str, int] = {}  # heard last comes last
        self._base: NDArray[np.int64] = np.zeros(0, np.int64)
        """First row of each segment, and how many it has room for."""
        self._room: NDArray[np.int64] = np.zeros(0, np.int64)
        self._next: list[int] = []
        self._filled: NDArray[np.int64] = np.zeros(0, np.int64)
        self._starts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._open: OrderedDict[EpisodeKey, list[NDArray[np.int64]]] = OrderedDict()  # latest last
        self._rare: NDArray[np.int64] | None = None
        self.added = 0
        """Rows ever taken in."""

    def __len__(self) -> int:
        return int(self._filled.sum())

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return 2 * self.obs_size + self.action_size + 2

    def extend(self, robot: str, rows: Transitions, boot_id: str = "") -> None:
        """Store rows of one robot by slices; the oldest beyond its quota go."""
        rows = rows.take(slice(-self.quota, None)) if len(rows) > self.quota else rows
        segment = self._segment(robot, len(rows))
        n, o, a = len(rows), self.obs_size, self.action_size
        block = np.empty((n, self._matrix.shape[1]), np.float32)
        block[:, :o] = self._normalize(rows.obs)
        block[:, o : o + a] = rows.action
        block[:, o + a : 2 * o + a] = self._normalize(rows.next_obs)
        block[:, -2], block[:, -1] = rows.reward, rows.terminated
        room = int(self._room[segment])
        places = self._base[segment] + (self._next[segment] + np.arange(n)) % room
        self._matrix[places], self._outcome[places] = block, _UNKNOWN
        self._next[segment] = (self._next[segment] + n) % room
        self._filled[segment] = min(self._filled[segment] + n, room)
        self._starts = np.concatenate([[0], np.cumsum(self._filled)[:-1]])
        self.added += n
        for episode in np.unique(rows.episode).tolist():
            key = (robot, boot_id, episode)
            self._open.setdefault(key, []).append(places[rows.episode == episode])
            self._open.move_to_end(key)
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)  # its rows stay, of unknown outcome

    def close(self, key: EpisodeKey, *, failed: bool) -> bool:
        """Give all rows of an episode its outcome; returns whether there are any."""
        places = self._open.pop(key, [])
        if places:
            self._outcome[np.concatenate(places)] = _FAILED if failed else _SUCCEEDED
            self._rare = None
        return bool(places)

    def draw(self, count: int, rare_fraction: float, rng: np.random.Generator, out: Matrix) -> NDArray[np.bool_]:
        """Draw `count` rows with replacement into `out`; returns which are of successful episodes, shape (count,).

        `rare_fraction` of them are of the rarer outcome: the first successes, or the last failures.
        """
        rare = self._rare_places() if rare_fraction > 0.0 else _NONE
        rare_count = round(count * rare_fraction) if len(rare) else 0
        flat = rng.integers(len(self), size=count - rare_count)
        segment = np.searchsorted(self._starts, flat, side="right") - 1
        places = self._base[segment] + flat - self._starts[segment]
        if rare_count:
            places = np.concatenate([places, rare[rng.integers(len(rare), size=rare_count)]])
        np.take(self._matrix, places, axis=0, out=out, mode="clip")
        success: NDArray[np.bool_] = self._outcome[places] == _SUCCEEDED
        return success

    def _rare_places(self) -> NDArray[np.int64]:
        if self._rare is None:
            failed, success = np.flatnonzero(self._outcome == _FAILED), np.flatnonzero(self._outcome == _SUCCEEDED)
            both = len(failed) and len(success)
            self._rare = min(failed, success, key=len) if both else _NONE
        return self._rare

    def _segment(self, robot: str, rows: int) -> int:
        """The segment of a robot, with room for so many rows more unless it has its quota."""
        segment = self._segments.pop(robot, None)
        if segment is None and len(self._segments) >= MAX_ROBOTS:
            segment = self._give_up(next(iter(self._segments)))
        if segment is None:
            segment = len(self._next)
            self._next.append(0)
            self._filled, self._room = np.append(self._filled, 0), np.append(self._room, 0)
        self._segments[robot] = segment
        needed, room = int(self._filled[segment]) + rows, int(self._room[segment])
        if needed > room < self.quota:
            self._enlarge(segment, min(self.quota, max(FIRST_ROWS, GROWTH * room, needed)))
        return segment

    def _enlarge(self, segment: int, room: int) -> None:
        """Lay all segments out anew; their rows keep their order."""
        before, self._room = self._base, self._room.copy()
        self._room[segment] = room
        self._base = np.cumsum(self._room) - self._room
        length = int(self._room.sum())
        matrix, outcome = np.zeros((length, self._matrix.shape[1]), np.float32), np.zeros(length, np.int8)
        for i, (old, filled) in enumerate(zip(before.tolist(), self._filled.tolist(), strict=False)):
            new = int(self._base[i])
            matrix[new : new + filled] = self._matrix[old : old + filled]
            outcome[new : new + filled] = self._outcome[old : old + filled]
        self._matrix, self._outcome = matrix, outcome
        self._rare = None
        for (robot, *_), places in self._open.items():
            at = self._segments.get(robot, len(before))
            if at < len(before) and (shift := self._base[at] - before[at]):
                places[:] = [each + shift for each in places]
        self._next[segment] = int(self._filled[segment])  # it may have been just full

    def _give_up(self, robot: str) -> int:
        """Forget the rows of a robot; its segment is free."""
        segment = self._segments.pop(robot)
        self._next[segment], self._filled[segment] = 0, 0
        self._rare = None
        self._outcome[self._base[segment] : self._base[segment] + self._room[segment]] = _UNKNOWN
        for key in [key for key in self._open if key[0] == robot]:
            del self._open[key]
        return segment
