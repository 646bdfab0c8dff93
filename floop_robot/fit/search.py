"""PopulationSearch: which points explain data, where each costs a simulation.

It is population Monte Carlo (Cappé et al. 2004). A population is drawn widely, simulated and weighted by how well it
explains the data. The next is drawn near the good ones. All points count in the end, each weighted by prior and fit
over the density it was drawn with. So the result is a posterior. CMA-ES finds the best point as fast, but its
covariance is no uncertainty.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
ANYWHERE_SHARE = 0.15
"""Share of later populations that is drawn as the first."""
MIN_EFFECTIVE = 3.0
"""Points that share the weight at least."""
USUAL_SHARE = 0.1
"""Share of the first population that is drawn as if nothing had changed; each other point is changed in one group."""


class Prior(msgspec.Struct, frozen=True):
    """Independent groups of parameters, each as usual or, less probably, changed: a mixture of two normal densities."""

    mean: Values
    std: Values
    """As usual, shape (d,)."""
    wide_std: Values
    """Changed, shape (d,)."""
    groups: tuple[tuple[int, ...], ...]
    wide_share: float = 0.3
    """Probability of a change in a group."""

    def explore(self, rng: np.random.Generator, count: int) -> Values:
        """Points to begin with, shape (count, d): most are changed in one group, since worlds change in one way."""
        std: Values = np.tile(self.std, (count, 1))
        changed = rng.choice(len(self.groups) + 1, size=count, p=np.exp(self._log_shares())) - 1
        for index, group in enumerate(self.groups):
            std[np.ix_(changed == index, group)] = self.wide_std[list(group)]
        points: Values = self.mean + std * rng.standard_normal(std.shape)
        return points

    def log_explore(self, points: Values) -> Values:
        """Log-density of `explore`, shape (n,)."""
        usual, wide = self._log_groups(points)
        shares = self._log_shares()
        total: Values = usual.sum(axis=0) + shares[0]
        for index, share in enumerate(shares[1:]):
            total = np.logaddexp(total, usual.sum(axis=0) - usual[index] + wide[index] + share)
        return total

    def _log_shares(self) -> Values:
        """Logs of the shares that are drawn as usual and changed in each group: more where less is known."""
        unknown = np.array([np.log(self.wide_std[g] / self.std[g]).sum() for g in map(list, self.groups)]) + 0.1
        shares: Values = np.log([USUAL_SHARE, *((1.0 - USUAL_SHARE) * unknown / unknown.sum())])
        return shares

    def log_density(self, points: Values) -> Values:
        """Log-density of points, shape (n, d)."""
        usual, wide = self._log_groups(points)
        share = self.wide_share
        total: Values = np.logaddexp(usual + np.log(1.0 - share), wide + np.log(share)).sum(axis=0)
        return total

    def _log_groups(self, points: Values) -> tuple[Values, Values]:
        """Log-densities of each group's parameters as usual and changed, shape (groups, n)."""
        found = [
            (
                _log_normal(points[:, g] - self.mean[g], self.std[g]),
                _log_normal(points[:, g] - self.mean[g], self.wide_std[g]),
            )
            for g in map(list, self.groups)
        ]
        return np.stack([usual for usual, _ in found]), np.stack([wide for _, wide in found])


class Posterior(msgspec.Struct, frozen=True):
    """Weighted points."""

    points: Values
    """Shape (n, d)."""
    costs: Values
    """Shape (n,)."""
    weights: Values
    """Shape (n,), sum 1."""
    bandwidth: Values
    """Standard deviation of a kernel around each point, shape (d,)."""

    def draw(self, rng: np.random.Generator, count: int) -> Values:
        """Points in proportion to their weights, shape (count, d), spread by the kernel."""
        places = (rng.random() + np.arange(count)) / count  # systematic: fewer repeats than independent draws
        chosen = np.minimum(np.searchsorted(np.cumsum(self.weights), places), len(self.weights) - 1)
        drawn: Values = self.points[chosen] + self.bandwidth * rng.standard_normal((count, len(self.bandwidth)))
        return drawn

    @property
    def best(self) -> Values:
        """The point of least cost, shape (d,)."""
        least: Values = self.points[int(np.argmin(self.costs))]
        return least


class PopulationSearch:
    """One search: `propose` points, find their costs, `take` both."""

    def __init__(self, prior: Prior, rng: np.random.Generator, start: Posterior | None = None) -> None:
        """`start`: near whose points the first population is drawn, as found with a part of the data."""
        self._prior, self._rng, self._start = prior, rng, start
        self._points, self._costs = np.zeros((0, len(prior.mean))), np.zeros(0)
        self._proposals: list[tuple[int, Posterior | None]] = []

    def propose(self, count: int) -> Values:
        """The next population, shape (count, d)."""
        before = self._posterior() if len(self._points) else self._start
        points = self._prior.explore(self._rng, count)
        if before is not None:
            near = self._rng.random(count) >= ANYWHERE_SHARE
            points[near] = before.draw(self._rng, int(near.sum()))
        self._proposals.append((count, before))
        return points

    def take(self, points: Values, costs: Values) -> Posterior:
        """Take in a population and its costs: negative log-likelihoods up to a constant. What is known then."""
        self._points, self._costs = np.concatenate([self._points, points]), np.concatenate([self._costs, costs])
        return self._posterior()

    def _posterior(self) -> Posterior:
        log_weights = self._prior.log_density(self._points) - self._costs - self._log_proposal()
        weights = _tempered(log_weights)
        mean: Values = weights @ self._points
        std = np.sqrt(weights @ (self._points - mean) ** 2)
        # Silverman's rule, and less: good worlds often lie in several places, and the rule takes them for one.
        shrink = 0.6 * _effective(weights) ** (-1.0 / (len(mean) + 4))
        return Posterior(self._points, self._costs, weights, np.maximum(shrink * std, 0.1 * self._prior.std))

    def _log_proposal(self) -> Values:
        """Log of the mean density that the points were drawn with."""
        anywhere = self._prior.log_explore(self._points)
        total = np.full(len(self._points), -np.inf)
        for count, before in self._proposals:
            density = anywhere
            if before is not None:
                density = np.logaddexp(
                    anywhere + np.log(ANYWHERE_SHARE), _log_kernels(self._points, before) + np.log(1.0 - ANYWHERE_SHARE)
                )
            total = np.logaddexp(total, density + np.log(count / len(self._points)))
        return total


def _tempered(log_weights: Values) -> Values:
    """Weights, sum 1, flattened until they are those of `MIN_EFFECTIVE` points at least.

    Where a few points have all the weight, how far the others are off says how far the truth may be.
    """
    low, high = 0.0, 1.0
    for _ in range(30):
        exponent = high if high == 1.0 and low == 0.0 else 0.5 * (low + high)
        weights: Values = np.exp(exponent * (log_weights - log_weights.max()))
        weights /= weights.sum()
        if _effective(weights) >= min(MIN_EFFECTIVE, 0.5 * len(weights)):
            if exponent == 1.0:
                return weights
            low = exponent
        else:
            high = exponent if exponent < 1.0 else 1.0 - 1e-12
    return weights


def _effective(weights: Values) -> float:
    """How many equally weighted points these are worth."""
    return 1.0 / float((weights**2).sum())


def _log_kernels(points: Values, around: Posterior) -> Values:
    """Log-density of points under the kernels of a posterior, shape (n,)."""
    kernels = _log_normal(points[:, None] - around.points[None], around.bandwidth) + np.log(around.weights + 1e-300)
    peak = kernels.max(axis=1)
    total: Values = peak + np.log(np.exp(kernels - peak[:, None]).sum(axis=1))
    return total


def _log_normal(off: Values, std: Values) -> Values:
    total: Values = -0.5 * ((off / std) ** 2).sum(axis=-1) - np.log(std).sum() - 0.919 * off.shape[-1]
    return total
