"""SacBatch: the rows of one SAC update, in the arrays that the update computes with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from floop_robot.stream.columns import Matrix


@dataclass
class SacBatch:
    """Preallocated rows of one update. The critic's input lies in one piece, so nothing is ever concatenated."""

    rows: int
    obs_size: int
    action_size: int
    obs_act: Matrix = field(init=False)
    """Shape (rows, obs_size + action_size): normalized observation, executed action."""
    next_obs_act: Matrix = field(init=False)
    """Same shape: next observation; the update writes the next action behind it."""
    reward: Matrix = field(init=False)
    """Shape (rows,)."""
    discount: Matrix = field(init=False)
    """Shape (rows,): γ, or 0 where the episode terminated."""
    success: Matrix = field(init=False)
    """Shape (rows,): 1 where the episode of the row succeeded, else 0. Read only by updates that imitate."""
    noise: Matrix = field(init=False)
    """Shape (2, rows, action_size): standard normal; for the actions at `obs_act`, then for those at `next_obs_act`."""

    def __post_init__(self) -> None:
        shape = (self.rows, self.obs_size + self.action_size)
        self.obs_act, self.next_obs_act = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.reward, self.discount = np.zeros(self.rows, np.float32), np.zeros(self.rows, np.float32)
        self.success = np.zeros(self.rows, np.float32)
        self.noise = np.zeros((2, self.rows, self.action_size), np.float32)
