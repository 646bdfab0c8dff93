"""Blocks of the journal in, complete transitions out.

A record holds no next observation: it is the next row's, or the final one of the episode's end. Streams of many robots
and boots come interleaved, blocks end anywhere, and rows may be missing.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.replay.transitions import Transitions
from floop_robot.spec.records import EpisodeEnd, StreamInfo
from floop_robot.stream.codec import Block
from floop_robot.stream.columns import TransitionColumns

MAX_STREAMS = 1024
"""Streams whose last row is kept waiting for its successor; a robot that restarts for ever must not fill the memory."""


class JoinedBlock(msgspec.Struct, frozen=True):
    """What one block completed."""

    info: StreamInfo
    rows: Transitions | None
    ends: tuple[EpisodeEnd, ...]


class NextObsJoiner:
    """Remembers the last row of every stream until its successor is known."""

    def __init__(self) -> None:
        self._pending: OrderedDict[tuple[str, str], TransitionColumns] = OrderedDict()
        self.dropped = 0
        """Rows whose successor never came (a gap, a stream that was given up)."""

    def feed(self, block: Block) -> JoinedBlock:
        """Take in the next block of a stream; rows come out in order, each once."""
        key = (block.info.robot, block.info.boot_id)
        columns = _join(self._pending.pop(key, None), block.transitions)
        if columns is None:
            return JoinedBlock(block.info, None, block.ends)
        next_obs, complete, episode_end = self._successors(columns, block.ends)
        if not complete[-1] and not _is_over(columns, block.ends):
            self._wait(key, _slice(columns, slice(-1, None)))
            self.dropped -= 1
        self.dropped += int(np.count_nonzero(~complete))
        keep = np.flatnonzero(complete)
        if not len(keep):
            return JoinedBlock(block.info, None, block.ends)
        return JoinedBlock(block.info, _rows(columns, next_obs, episode_end, keep), block.ends)

    def _wait(self, key: tuple[str, str], row: TransitionColumns) -> None:
        self._pending[key] = row
        if len(self._pending) > MAX_STREAMS:
            self._pending.popitem(last=False)
            self.dropped += 1

    @staticmethod
    def _successors(
        c: TransitionColumns, ends: tuple[EpisodeEnd, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Next observations, which rows have one, and which of these came from the end of their episode."""
        over = c.terminated | c.truncated
        linked = (c.episode[1:] == c.episode[:-1]) & (c.step[1:] == c.step[:-1] + 1) & ~over[:-1]
        complete, episode_end = np.append(linked, False), np.zeros(len(c), np.bool_)
        next_obs = np.zeros_like(c.obs)
        next_obs[:-1][linked] = c.obs[1:][linked]
        by_episode = {end.episode: end for end in ends}
        for i in np.flatnonzero(~complete).tolist():
            end = by_episode.get(int(c.episode[i]))
            if end is not None and end.steps == c.step[i] + 1 and len(end.final_obs) == c.obs.shape[1]:
                next_obs[i], complete[i], episode_end[i] = end.final_obs, True, True
        return next_obs, complete, episode_end


def _is_over(c: TransitionColumns, ends: tuple[EpisodeEnd, ...]) -> bool:
    return any(end.episode == c.episode[-1] for end in ends)


def _slice(c: TransitionColumns, part: slice) -> TransitionColumns:
    # Copied: a view would keep the whole block alive.
    return TransitionColumns(**{name: getattr(c, name)[part].copy() for name in c.__struct_fields__})


def _join(first: TransitionColumns | None, second: TransitionColumns | None) -> TransitionColumns | None:
    if first is None or second is None:
        return first if second is None else second
    if first.obs.shape[1] != second.obs.shape[1] or first.action.shape[1] != second.action.shape[1]:
        return second
    parts = {n: np.concatenate([getattr(first, n), getattr(second, n)]) for n in first.__struct_fields__}
    return TransitionColumns(**parts)


def _rows(
    c: TransitionColumns, next_obs: NDArray[np.float32], episode_end: NDArray[np.bool_], keep: NDArray[np.int64]
) -> Transitions:
    return Transitions(
        obs=c.obs[keep],
        action=c.action[keep],
        action_requested=c.action_requested[keep],
        next_obs=next_obs[keep],
        reward=c.reward[keep].astype(np.float32),
        terminated=c.terminated[keep],
        episode_end=episode_end[keep],
        log_prob=c.log_prob[keep].astype(np.float32),
        policy_version=c.policy_version[keep],
        episode=c.episode[keep],
        stamp_ns=c.stamp_ns[keep],
    )
