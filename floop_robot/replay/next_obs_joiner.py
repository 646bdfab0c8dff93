"""NextObsJoiner: blocks of the journal in, complete transitions out.

A record holds no next observation. It is the next row's observation, or the final one of the episode's end.
Streams of many robots and boots come interleaved, blocks end anywhere, and rows may be missing.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from floop_robot.replay.transitions import Transitions
from floop_robot.spec.records import EpisodeEnd
from floop_robot.stream.codec import Block
from floop_robot.stream.columns import Matrix, TransitionColumns

MAX_STREAMS = 1024
"""Streams whose last row waits for its successor. Bounded: a robot that restarts for ever must not fill the memory."""


class NextObsJoiner:
    """Remembers the last row of every stream until its successor is known."""

    def __init__(self) -> None:
        self._pending: OrderedDict[tuple[str, str], TransitionColumns] = OrderedDict()
        self.dropped = 0
        """Rows whose successor never came: there is a gap, or the stream was given up."""

    def join(self, block: Block) -> Transitions | None:
        """The transitions that the next block of a stream completes, in order; None if it completes none."""
        key = (block.info.robot, block.info.boot_id)
        columns = _append(self._pending.pop(key, None), block.transitions)
        if columns is None:
            return None
        next_obs, complete, episode_end = _successors(columns, block.ends)
        if not complete[-1] and not any(end.episode == columns.episode[-1] for end in block.ends):
            self._wait(key, _last_row(columns))
            self.dropped -= 1
        self.dropped += int(np.count_nonzero(~complete))
        keep = np.flatnonzero(complete)
        return _transitions(columns, next_obs, episode_end, keep) if len(keep) else None

    def _wait(self, key: tuple[str, str], row: TransitionColumns) -> None:
        self._pending[key] = row
        if len(self._pending) > MAX_STREAMS:
            self._pending.popitem(last=False)
            self.dropped += 1


def _successors(
    c: TransitionColumns, ends: tuple[EpisodeEnd, ...]
) -> tuple[Matrix, NDArray[np.bool_], NDArray[np.bool_]]:
    """Next observations, which rows have one, and which of these are the last of their episode."""
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


def _last_row(c: TransitionColumns) -> TransitionColumns:
    # Copied: a view would keep the whole block alive.
    return TransitionColumns(**{name: getattr(c, name)[-1:].copy() for name in c.__struct_fields__})


def _append(first: TransitionColumns | None, second: TransitionColumns | None) -> TransitionColumns | None:
    if first is None or second is None:
        return first if second is None else second
    if first.obs.shape[1] != second.obs.shape[1] or first.action.shape[1] != second.action.shape[1]:
        return second
    parts = {n: np.concatenate([getattr(first, n), getattr(second, n)]) for n in first.__struct_fields__}
    return TransitionColumns(**parts)


def _transitions(
    c: TransitionColumns, next_obs: Matrix, episode_end: NDArray[np.bool_], keep: NDArray[np.int64]
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
        is_new=np.zeros(len(keep), np.bool_),
    )
