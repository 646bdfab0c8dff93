"""PopulationSearch: which points explain data, where each point costs simulations and its cost has noise.

A population is drawn widely and simulated. A Gaussian process smooths the costs found so far: what a chance contact did
in one world then counts little, and costs of few episodes can stand beside those of many. The next population is drawn
where the smoothed costs, or their uncertainty, allow the truth. In the end prior and smoothed costs are the posterior
(as BOLFI, Gutmann and Corander 2016). CMA-ES finds the best point as fast, but its covariance is no uncertainty.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
ANYWHERE_SHARE = 0.2
"""Share of later populations that is drawn as the first."""
USUAL_SHARE = 0.1
"""Share of the first population that is drawn as if nothing had changed; each other point is changed in one group."""
AMPLITUDE = 0.2
"""Standard deviation of costs from place to place."""
EPISODE_STD = 0.1
"""Standard deviation of the cost of one episode about the mean of all, at one point."""
_PARTICLES, _MOVES = 400, 3
_EARLIER_SHARE = 0.8
"""Probability that what an earlier search found still holds."""


class Prior(msgspec.Struct, frozen=True):
    """Independent groups of parameters, each as usual or, less probably, changed: a mixture of two normal densities."""

    mean: Values
    std: Values
    """As usual, shape (d,)."""
    wide_mean: Values
    wide_std: Values
    """Changed, shape (d,)."""
    groups: tuple[tuple[int, ...], ...]
    wide_share: tuple[float, ...]
    """Probability of a change in each group."""
    earlier: Values | None = None
    """Points that an earlier search found, in their frequency, shape (n, d): most probably they still hold."""

    def explore(self, rng: np.random.Generator, count: int) -> Values:
        """Points to begin with, shape (count, d): most are changed in one group, since worlds change in one way."""
        changed = rng.choice(len(self.groups) + 1, size=count, p=self._shares()) - 1
        return self._points(rng, [changed == index for index in range(len(self.groups))])

    def _points(self, rng: np.random.Generator, changed: Sequence[NDArray[np.bool_]]) -> Values:
        """`changed`: by group, which of the points are changed in it, shape (count,)."""
        mean, std = np.tile(self.mean, (len(changed[0]), 1)), np.tile(self.std, (len(changed[0]), 1))
        for group, where in zip(map(list, self.groups), changed, strict=True):
            mean[:, group] = np.where(where[:, None], self.wide_mean[group], mean[:, group])
            std[:, group] = np.where(where[:, None], self.wide_std[group], std[:, group])
        points: Values = mean + std * rng.standard_normal(std.shape)
        return points

    def draw(self, rng: np.random.Generator, count: int) -> Values:
        """Points in proportion to their density, shape (count, d)."""
        points = self._points(rng, [rng.random(count) < share for share in self.wide_share])
        if self.earlier is not None:
            kept = rng.random(count) < _EARLIER_SHARE
            chosen = self.earlier[rng.integers(len(self.earlier), size=int(kept.sum()))]
            points[kept] = chosen + self._bandwidth * rng.standard_normal(chosen.shape)
        return points

    def log_density(self, points: Values) -> Values:
        """Log-density of points, shape (n, d)."""
        total = np.zeros(len(points))
        for group, share in zip(map(list, self.groups), self.wide_share, strict=True):
            usual = _log_normal(points[:, group] - self.mean[group], self.std[group])
            wide = _log_normal(points[:, group] - self.wide_mean[group], self.wide_std[group])
            total += np.logaddexp(usual + np.log1p(-share), wide + np.log(share))
        if self.earlier is not None:
            kernels = _log_normal(points[:, None] - self.earlier[None], self._bandwidth)
            held = np.logaddexp.reduce(kernels, axis=1) - np.log(len(self.earlier))
            total = np.logaddexp(held + np.log(_EARLIER_SHARE), total + np.log(1.0 - _EARLIER_SHARE))
        return total

    @property
    def _bandwidth(self) -> Values:
        """Of a kernel around each earlier point, by Silverman's rule; shape (d,)."""
        assert self.earlier is not None
        n, d = self.earlier.shape
        width: Values = np.maximum(self.earlier.std(axis=0) * n ** (-1.0 / (d + 4)), 0.1 * self.std)
        return width

    def _shares(self) -> Values:
        """Shares that are drawn as usual and changed in each group: more where less is known."""
        spread = np.abs(self.wide_mean - self.mean) + self.wide_std
        unknown = np.array([max(0.0, np.log(spread[g] / self.std[g]).sum()) for g in map(list, self.groups)]) + 0.1
        return np.array([USUAL_SHARE, *((1.0 - USUAL_SHARE) * unknown / unknown.sum())])


class PopulationSearch:
    """One search: `propose` points, find their costs, `take` both; `draw` from what is known then."""

    def __init__(self, prior: Prior, lengths: Values, rng: np.random.Generator) -> None:
        """`lengths`: over which costs change, shape (d,)."""
        self._prior, self._lengths, self._rng = prior, lengths, rng
        self._points, self._costs, self._noise = np.zeros((0, len(lengths))), np.zeros(0), np.zeros(0)
        self._usual = 0.0
        """Cost where nothing is known."""

    def propose(self, count: int, scale: float) -> Values:
        """The next population, shape (count, d). `scale`: as in `draw`."""
        points = self._prior.explore(self._rng, count)
        near = self._rng.random(count) >= ANYWHERE_SHARE
        if len(self._points):
            points[near] = self.draw(int(near.sum()), scale, optimism=1.0)
        elif self._prior.earlier is not None:
            points[near] = self._prior.draw(self._rng, int(near.sum()))
        return points

    def take(self, points: Values, costs: Values, episodes: int) -> None:
        """Take in a population and the mean costs of so many episodes in each point."""
        self._points, self._costs = np.concatenate([self._points, points]), np.concatenate([self._costs, costs])
        self._noise = np.concatenate([self._noise, np.full(len(points), EPISODE_STD**2 / episodes)])
        self._usual = float(np.median(self._costs))
        covariance = self._covariance(self._points) + np.diag(self._noise)
        self._inverse: Values = np.asarray(np.linalg.inv(covariance), np.float64)

    def smoothed(self, points: Values) -> tuple[Values, Values]:
        """Expected costs at points, and their standard deviations, both of shape (n,)."""
        covariance = self._covariance(points)
        weights = covariance @ self._inverse
        mean = self._usual + weights @ (self._costs - self._usual)
        return mean, np.sqrt(np.maximum(AMPLITUDE**2 - (weights * covariance).sum(axis=1), 0.0))

    def draw(self, count: int, scale: float, optimism: float = 0.0) -> Values:
        """Points of the posterior, shape (count, d), at most `_PARTICLES`.

        `scale`: what a cost counts as a negative log-likelihood. `optimism`: standard deviations by which costs may be
        smaller than expected. It is tempered sequential Monte Carlo (Del Moral et al. 2006).
        """
        rng, x, power = self._rng, self._prior.draw(self._rng, _PARTICLES), 0.0
        cost = scale * self._expected(x, optimism)
        while power < 1.0:
            before, power = power, _next_power(cost, power)
            weights = np.exp(-(power - before) * (cost - cost.min()))
            places = (rng.random() + np.arange(_PARTICLES)) / _PARTICLES
            kept = np.minimum(np.searchsorted(np.cumsum(weights / weights.sum()), places), _PARTICLES - 1)
            x, cost = x[kept], cost[kept]
            density = self._prior.log_density(x)
            for _ in range(_MOVES):
                moved = x + 0.5 * x.std(axis=0) * rng.standard_normal(x.shape) * rng.choice([0.3, 1.0], (len(x), 1))
                there, likely = scale * self._expected(moved, optimism), self._prior.log_density(moved)
                goes = np.log(rng.random(len(x))) < likely - density - power * (there - cost)
                x[goes], cost[goes], density[goes] = moved[goes], there[goes], likely[goes]
        drawn: Values = x[rng.choice(_PARTICLES, size=count, replace=False)]
        return drawn

    def _expected(self, points: Values, optimism: float) -> Values:
        mean, std = self.smoothed(points)
        return mean - optimism * std

    def _covariance(self, points: Values) -> Values:
        """With the points whose costs are known, shape (n, known): Matérn 3/2, since costs have edges."""
        off = points[:, None] / self._lengths - self._points[None] / self._lengths
        apart = np.sqrt(3.0 * (off**2).sum(axis=2))
        found: Values = AMPLITUDE**2 * (1.0 + apart) * np.exp(-apart)
        return found


def _next_power(cost: Values, power: float) -> float:
    """The largest power of the likelihood at which half of the particles still count."""
    off = cost - cost.min()
    low, high = power, 1.0
    for _ in range(20):
        middle = high if high == 1.0 and low == power else 0.5 * (low + high)
        weights = np.exp(-(middle - power) * off)
        if weights.sum() ** 2 >= 0.5 * len(cost) * (weights**2).sum():
            if middle == 1.0:
                return 1.0
            low = middle
        else:
            high = middle if middle < 1.0 else 1.0 - 1e-9
    return max(low, power + 1e-3) if low < 1.0 else 1.0


def _log_normal(off: Values, std: Values) -> Values:
    total: Values = -0.5 * ((off / std) ** 2).sum(axis=-1) - np.log(std).sum() - 0.919 * off.shape[-1]
    return total
