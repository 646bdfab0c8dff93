"""PopulationSearch: its posterior is that of the costs, changed worlds are found, and intervals hold the truth."""

from __future__ import annotations

import numpy as np

from floop_robot.fit.search import PopulationSearch, Posterior, Prior

PRIOR = Prior(
    mean=np.zeros(3), std=np.array([0.1, 0.1, 0.1]), wide_std=np.array([2.0, 1.0, 1.0]), groups=((0,), (1, 2))
)


def found(truth: np.ndarray, precision: float, seed: int, rounds: int = 4) -> Posterior:
    search = PopulationSearch(PRIOR, np.random.default_rng(seed))
    for _ in range(rounds):
        points = search.propose(60)
        posterior = search.take(points, 0.5 * precision * ((points - truth) ** 2).sum(axis=1))
    return posterior


def test_a_change_of_one_group_is_found_among_worlds_that_mostly_are_as_usual() -> None:
    for truth in (np.array([3.0, 0.0, 0.0]), np.array([0.0, 1.2, -0.9])):
        posterior = found(truth, 100.0, seed=1)
        assert np.allclose(posterior.weights @ posterior.points, truth, atol=0.25)
        assert np.linalg.norm(posterior.best - truth) < 0.4


def test_what_the_costs_do_not_tell_keeps_the_prior() -> None:
    posterior = found(np.zeros(3), 0.0, seed=2, rounds=6)
    drawn = posterior.draw(np.random.default_rng(0), 4000)
    assert 0.6 < np.std(drawn[:, 0]) < 1.6  # the mixture's: sqrt(0.3) · 2
    assert 0.2 < np.mean(np.abs(drawn[:, 0]) > 0.5) < 0.6


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth = np.array([1.5, 0.0, 0.0]) + 0.05 * rng.standard_normal(3)
        measured = truth + 0.2 * rng.standard_normal(3)
        drawn = found(measured, 1.0 / 0.2**2, seed).draw(rng, 200)
        low, high = np.quantile(drawn, (0.1, 0.9), axis=0)
        inside.append(low[0] <= truth[0] <= high[0])
    assert np.mean(inside) > 0.6
