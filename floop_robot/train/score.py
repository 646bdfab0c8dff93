"""Score: what episodes of one policy came to, and which of two scores is better."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from floop_robot.train.training_episode import TrainingEpisode


class Score(msgspec.Struct, frozen=True):
    """What some episodes of one policy came to."""

    success: float
    time_s: float | None
    """Mean simulated duration of the successes."""
    mean_return: float

    def better_than(self, other: Score, enough: float) -> bool:
        """More success counts first, then return; of two with `enough` success the faster is better."""
        if min(self.success, other.success) >= enough:
            return (self.time_s or math.inf) < (other.time_s or math.inf)
        return (self.success, self.mean_return) > (other.success, other.mean_return)


def score_of(episodes: Sequence[TrainingEpisode]) -> Score:
    """The score of episodes, at least one."""
    durations = [episode.duration_s for episode in episodes if episode.success]
    return Score(
        success=len(durations) / len(episodes),
        time_s=float(np.mean(durations)) if durations else None,
        mean_return=float(np.mean([episode.total_reward for episode in episodes])),
    )


def standard_error(success: float, episodes: int) -> float:
    """Standard error of a success rate that was measured on so many episodes."""
    return math.sqrt(success * (1.0 - success) / episodes)
