"""TrainProgress: what is shown while training."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec


class TrainProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a training run stands; NaN where there is no figure yet."""

    phase: str
    transitions: int = 0
    total_timesteps: int = 0
    gradient_steps: int = 0
    recent_success: float = math.nan
    """Of the latest training episodes."""
    recent_return: float = math.nan
    recent_length: float = math.nan
    """Mean steps of the latest training episodes."""
    selection_success: float = math.nan
    """Of the best weights so far, on selection scenarios."""
    selection_time_s: float = math.nan
    """Mean simulated duration of their successes."""
    episodes: int = 0
    """Training episodes that ended."""
    elapsed_s: float = 0.0
    steps_per_s: float = 0.0

    @property
    def eta_s(self) -> float:
        """Time that the remaining steps take at this pace; NaN while it is not known."""
        return (self.total_timesteps - self.transitions) / self.steps_per_s if self.steps_per_s > 0.0 else math.nan


ProgressCallback = Callable[[TrainProgress], None]
