"""RunCounters: where a training run stands, in numbers."""

from __future__ import annotations

import msgspec


class RecentEpisode(msgspec.Struct, frozen=True):
    """Figures of a training episode."""

    success: bool
    total_reward: float
    steps: int


class RunCounters(msgspec.Struct, kw_only=True):
    """What a run counts; the one mutable part of it that is more than weights and rows."""

    transitions: int = 0
    """Environment steps of the learning policy."""
    demonstrated: int = 0
    """Rows of demonstrations."""
    next_index: int = 0
    """Number of the next training episode."""
    episodes: int = 0
    """Training episodes that ended."""
    version: int = 0
    """Published weights."""
    published_steps: int = 0
    """Gradient steps at the latest of them."""
    selected_at: int = 0
    """Environment steps at the latest selection, and evaluation."""
    evaluated_at: int = 0
    reports_success: bool = False
    is_done: bool = False
    """Whether the policy was good enough before the steps were used up."""
    is_stopped: bool = False
    """Whether a callback ended the training."""
    elapsed_s: float = 0.0
    """Wall time of the parts of the run before this one."""

    def why_ended(self, until_success: float) -> str:
        """Why a training ended, in words."""
        if self.is_done:
            return f"reached until_success {until_success:g}"
        return "a callback ended it" if self.is_stopped else "its steps are used up"
