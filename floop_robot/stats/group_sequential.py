"""A success rate shown in a few looks: sooner than with all episodes, with the same chance of a false yes."""

from __future__ import annotations

import functools
from collections.abc import Sequence

SPENDING = 1.5
"""After a share t of the episodes at most alpha · t^SPENDING may be spent (Kim and DeMets 1987).

Early looks get little, so that the last one asks for hardly more than a single look at all episodes would."""


@functools.cache
def failures_allowed(rate: float, looks: tuple[int, ...], alpha: float) -> tuple[int, ...]:
    """How many failures show at each look that success is above `rate`; -1 where none can.

    `looks` are numbers of episodes, rising. A policy whose success is `rate` is let through at some look with chance
    `alpha` at most: the bounds are exact for independent episodes. Source: Lan and DeMets 1983, "Discrete sequential
    boundaries for clinical trials".
    """
    allowed: list[int] = []
    spent = 0.0
    open_cases, seen = [1.0], 0  # chance of each number of failures, and of no yes so far
    for look in looks:
        for _ in range(look - seen):
            open_cases = _one_more(open_cases, rate)
        seen = look
        budget = alpha * (look / looks[-1]) ** SPENDING - spent
        most = -1
        while most + 1 < len(open_cases) and open_cases[most + 1] <= budget:
            most += 1
            budget -= open_cases[most]
            spent += open_cases[most]
            open_cases[most] = 0.0
        allowed.append(most)
    return tuple(allowed)


def _one_more(chances: Sequence[float], rate: float) -> list[float]:
    successes = [chance * rate for chance in chances] + [0.0]
    failures = [0.0] + [chance * (1.0 - rate) for chance in chances]
    return [a + b for a, b in zip(successes, failures, strict=True)]
