"""AlphaWealth: one error budget of a test for all candidates that are tried against one incumbent on the same tasks.

Alpha-investing (Foster & Stine 2008) with bets: every trial stakes all of the wealth, and a candidate is accepted when
the stake has grown to 1. What the bets have made of it is the next trial's stake: successive snapshots of one learner
are one line, whose evidence adds up. While no candidate is better, no bet makes money on average. So the chance that
any of them is ever accepted is at most what was paid in, `alpha`.

After many candidates that are no better, little is left. So a part of alpha is kept back and paid in bit by bit: a
better candidate can come late (restarts: Shin, Ramdas & Rinaldo 2023, "E-detectors").
"""

from __future__ import annotations

import msgspec

FIRST_SHARE = 0.7
"""The first trial stakes this share of alpha; before the k-th, 1/(k(k - 1)) of the rest is paid in."""


class AlphaWealth(msgspec.Struct):
    """What the next trial may stake."""

    alpha: float
    max_stake: float
    """A trial stakes at most this, whatever others before it gained."""
    stake: float
    """What the next trial stakes."""
    trials: int = 0
    """How many trials have bet."""

    def settle(self, kept: float) -> None:
        """A trial ended without an acceptance, and has `kept` of its stake."""
        self.trials += 1
        kept_back = (1.0 - FIRST_SHARE) * self.alpha
        self.stake = min(kept + kept_back / (self.trials * (self.trials + 1)), self.max_stake)


def new_wealth(alpha: float, max_stake: float) -> AlphaWealth:
    """A budget of `alpha` before the first trial."""
    return AlphaWealth(alpha, max_stake, FIRST_SHARE * alpha)
