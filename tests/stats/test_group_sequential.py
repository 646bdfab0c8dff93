"""A few looks at a success rate keep the chance of a false yes, and need fewer episodes."""

import numpy as np
import pytest

from floop_robot.stats.group_sequential import failures_allowed

LOOKS = tuple(range(125, 301, 25))
ALPHA = 0.0228


def shown(rate: float, success: float, runs: int) -> tuple[float, float]:
    """Share of `runs` that show `rate`, and the mean number of episodes until then."""
    allowed = failures_allowed(rate, LOOKS, ALPHA)
    fails = np.random.default_rng(0).random((runs, LOOKS[-1])) >= success
    counts = np.cumsum(fails, axis=1)[:, np.array(LOOKS) - 1]
    passes = counts <= np.array(allowed)
    first = np.where(passes.any(axis=1), passes.argmax(axis=1), len(LOOKS) - 1)
    return float(passes.any(axis=1).mean()), float(np.array(LOOKS)[first].mean())


@pytest.mark.parametrize("rate", [0.8, 0.9, 0.95])
def test_a_policy_at_the_rate_passes_as_seldom_as_promised(rate: float) -> None:
    runs = 20_000
    false_yes, _ = shown(rate, rate, runs)
    assert false_yes <= ALPHA + 3 * (ALPHA / runs) ** 0.5
    assert false_yes > 0.5 * ALPHA, "nothing is given away"


def test_a_good_policy_is_shown_as_often_as_by_one_look_and_sooner() -> None:
    one_look = 0.9148
    """Chance of at most 7 failures in 300 episodes at 98.5 %: what 95 % and two standard errors ask for."""
    passed, episodes = shown(0.95, 0.985, 20_000)
    assert passed > one_look - 0.01
    assert episodes < 215


def test_a_rate_that_so_few_episodes_cannot_show_is_never_shown() -> None:
    assert failures_allowed(0.95, (10, 20), ALPHA) == (-1, -1)
    assert failures_allowed(1.0, (100,), ALPHA) == (-1,)
