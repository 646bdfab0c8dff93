"""RecordedEpisodes: whole episodes of each robot, put together from the blocks of the journal."""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec
import numpy as np

from floop_robot.spec.records import ActMode, EpisodeEnd, ObjectReport, OutcomeCode, Source
from floop_robot.stream.codec import Block
from floop_robot.stream.columns import Matrix

EPISODES_PER_ROBOT = 24
"""Latest episodes that are kept of a robot; older ones may describe another world."""
MAX_ROBOTS = 256
"""Robots that are remembered; the one that reported longest ago goes first."""
MAX_OPEN = 4 * MAX_ROBOTS
"""Episodes whose end has not come; the oldest goes first."""


class RecordedEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of `n` steps, as the robot saw it."""

    object: ObjectReport
    obs: Matrix
    """Raw observations, shape (n + 1, obs_size); the last is the final one."""
    actions: Matrix
    """Requested actions, shape (n, action_size)."""
    success: bool

    @property
    def steps(self) -> int:
        """Number of policy steps."""
        return len(self.actions)


class RecordedEpisodes:
    """The latest episodes of each robot; feed it every block of robots."""

    def __init__(self, per_robot: int = EPISODES_PER_ROBOT) -> None:
        self._open: OrderedDict[tuple[str, str, int], list[tuple[Matrix, Matrix]]] = OrderedDict()
        self._per_robot = per_robot
        self._of: OrderedDict[str, deque[RecordedEpisode]] = OrderedDict()

    def of(self, robot: str) -> tuple[RecordedEpisode, ...]:
        """The robot's latest episodes, oldest first."""
        return tuple(self._of[robot]) if robot in self._of else ()

    @property
    def robots(self) -> tuple[str, ...]:
        """Robots with an episode."""
        return tuple(self._of)

    def take(self, block: Block) -> None:
        """Take in a block; those of others than robots are left out."""
        if block.info.source is not Source.ROBOT:
            return
        rows, info = block.transitions, block.info
        if rows is not None:
            for episode in np.unique(rows.episode).tolist():
                here = rows.episode == episode
                key = (info.robot, info.boot_id, episode)
                self._open.setdefault(key, []).append((rows.obs[here], rows.action_requested[here]))
        for end in block.ends:
            self._close(info.robot, end, self._open.pop((info.robot, info.boot_id, end.episode), []))
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)

    def _close(self, robot: str, end: EpisodeEnd, parts: list[tuple[Matrix, Matrix]]) -> None:
        """Keep an episode that ended, if it tells something of the policy and none of its rows is missing."""
        counts = end.outcome is not OutcomeCode.ABORTED and end.act_mode is ActMode.MEAN
        if not counts or sum(len(actions) for _, actions in parts) != end.steps or not end.steps:
            return
        obs = [rows for rows, _ in parts]
        kept = self._of.setdefault(robot, deque(maxlen=self._per_robot))
        self._of.move_to_end(robot)
        if len(self._of) > MAX_ROBOTS:
            self._of.popitem(last=False)
        kept.append(
            RecordedEpisode(
                object=end.object,
                obs=np.concatenate([*obs, end.final_obs[None]]),
                actions=np.concatenate([actions for _, actions in parts]),
                success=end.outcome is OutcomeCode.SUCCESS,
            )
        )
