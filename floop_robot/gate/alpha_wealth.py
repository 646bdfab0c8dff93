"""AlphaWealth: one error budget of a test for all candidates that are tried against one incumbent on the same tasks.

Alpha-investing (Foster & Stine 2008) with bets: every trial stakes a part of the wealth, and a candidate is accepted
when its stake has grown to 1. What the trial has not lost goes back. While no candidate is better, no bet makes money
on average. So the chance that any of them is ever accepted is at most the wealth at the start, however many are tried.
"""

from __future__ import annotations

STAKE_SHARE = 0.5
"""The first trial stakes this share of the wealth; after k lost stakes it is one (k + 1)-th of that share.

So the first candidates get much, and enough is left for the 50th.
"""


class AlphaWealth:
    """What is left of `alpha`, and what the next trial may stake."""

    def __init__(self, alpha: float) -> None:
        self.left = alpha
        self.lost_stakes = 0.0
        """How many stakes were lost, in parts: a trial that ended soon has lost little of its own."""
        self.preempted = 0
        """How many trials ended for a newer candidate."""

    @property
    def stake(self) -> float:
        """What the next trial stakes: the chance that it accepts a candidate that is not better."""
        return self.left * STAKE_SHARE / (1.0 + self.lost_stakes)

    def settle(self, stake: float, kept: float) -> None:
        """A trial ended that staked `stake` and has `kept` of it; it can't return more than it took.

        So the budget holds for the candidates that are no better, whatever others are tried between them.
        """
        lost = stake - min(stake, kept)
        self.left -= lost
        self.lost_stakes += lost / stake
