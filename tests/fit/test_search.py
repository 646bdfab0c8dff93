"""PopulationSearch: its posterior is that of the costs, changed worlds are found, and intervals hold the truth."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from floop_robot.fit.search import PopulationSearch, Prior

PRIOR = Prior(
    mean=np.zeros(3),
    std=np.array([0.1, 0.1, 0.1]),
    wide_mean=np.zeros(3),
    wide_std=np.array([2.0, 1.0, 1.0]),
    groups=((0,), (1, 2)),
    wide_share=(0.3, 0.3),
)
LENGTHS = np.array([1.0, 0.5, 0.5])
EPISODES = 6


def found(truth: np.ndarray, width: float, scale: float, seed: int, prior: Prior = PRIOR) -> np.ndarray:
    """Posterior after four populations; costs are lower within `width` of the truth, by 0.5 at most."""
    rng = np.random.default_rng(seed)
    search = PopulationSearch(prior, LENGTHS, rng)
    for count in (80, 30, 20, 20):
        points = search.propose(count, scale)
        costs = 0.6 - 0.5 * np.exp(-0.5 * ((points - truth) ** 2).sum(axis=1) / width**2)
        search.take(points, costs + 0.02 * rng.standard_normal(count), EPISODES)
    return search.draw(400, scale)


def test_a_change_of_one_group_is_found_among_worlds_that_mostly_are_as_usual() -> None:
    for truth in (np.array([3.0, 0.0, 0.0]), np.array([0.0, 1.2, -0.9])):
        drawn = found(truth, 0.5, 100.0, seed=1)
        assert np.allclose(np.median(drawn, axis=0), truth, atol=0.25)


def test_what_the_costs_do_not_tell_keeps_the_prior() -> None:
    drawn = found(np.zeros(3), 0.5, 0.0, seed=2)
    assert 0.6 < np.std(drawn[:, 0]) < 1.6  # the mixture's: sqrt(0.3) · 2
    assert 0.2 < np.mean(np.abs(drawn[:, 0]) > 0.5) < 0.6


def test_a_change_is_looked_for_where_and_as_often_as_the_prior_says() -> None:
    prior = msgspec.structs.replace(PRIOR, wide_mean=np.array([4.0, 0.0, 0.0]), wide_share=(0.9, 0.01))
    drawn = found(np.zeros(3), 0.5, 0.0, seed=2, prior=prior)
    assert np.mean(drawn[:, 0] > 1.0) == pytest.approx(0.9 * 0.93, abs=0.1)
    assert np.mean(np.abs(drawn[:, 1:]) > 0.5) < 0.1
    changed, usual = np.exp(prior.log_density(np.array([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])))
    assert changed / usual == pytest.approx(0.9 / 2.0 / (0.1 / 0.1 + 0.9 / 2.0 * np.exp(-2.0)), rel=0.01)
    known = msgspec.structs.replace(prior, wide_std=np.array([0.05, 0.05, 0.05]))
    assert len(known.explore(np.random.default_rng(0), 80)) == 80
    first = prior.explore(np.random.default_rng(0), 1000)
    assert np.mean(first[np.abs(first[:, 0]) > 0.5, 0]) == pytest.approx(4.0, abs=0.5)


def test_an_earlier_search_helps_unless_it_is_outdated() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([0.0, 1.2, -0.9])
    earlier = msgspec.structs.replace(PRIOR, earlier=truth + 0.2 * rng.standard_normal((32, 3)))
    off = {}
    for name, prior in (("alone", PRIOR), ("together", earlier)):
        drawn = found(truth, 0.5, 10.0, seed=3, prior=prior)
        off[name] = float(np.mean(np.linalg.norm(drawn - truth, axis=1)))
    assert off["together"] < 0.7 * off["alone"]
    changed = np.array([0.0, -1.0, 0.5])
    assert np.median(found(changed, 0.5, 100.0, seed=4, prior=earlier), axis=0) == pytest.approx(changed, abs=0.3)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    inside = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth = np.array([1.5, 0.0, 0.0]) + 0.1 * rng.standard_normal(3)
        low, high = np.quantile(found(truth, 0.5, 60.0, seed), (0.1, 0.9), axis=0)
        inside.append((low <= truth) & (truth <= high))
    assert np.mean(inside) > 0.7
