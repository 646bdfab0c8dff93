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
    selection_success: float = math.nan
    """Of the best weights so far, on selection scenarios."""
    selection_time_s: float = math.nan
    """Mean simulated duration of their successes."""
    elapsed_s: float = 0.0


ProgressCallback = Callable[[TrainProgress], None]
