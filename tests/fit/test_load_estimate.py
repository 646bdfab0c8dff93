"""estimate_load: what outcomes tell of how heavy and slippery objects are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from floop_robot.fit.load_estimate import (
    CHANGED_MEAN,
    CHANGED_SHARE,
    LARGEST,
    UNLIKELY_SHARE,
    estimate_load,
    fails_from,
)


@pytest.mark.parametrize("threshold", [0.1, 1.0, 2.3, 3.4])
def test_where_a_replay_begins_to_fail_is_found(threshold: float) -> None:
    asked: list[float] = []

    def holds(log_load: float) -> bool:
        asked.append(log_load)
        return log_load < threshold

    assert fails_from(holds) == pytest.approx(threshold, abs=0.12)
    assert len(asked) == 6


def test_a_replay_that_fails_anyway_or_never_has_no_such_load() -> None:
    assert fails_from(lambda _: False) == -math.inf
    assert fails_from(lambda _: True) == math.inf
    assert fails_from(lambda log_load: log_load < 0.99 * LARGEST) < LARGEST


@pytest.mark.parametrize(("truth", "seed"), [(2.4, 0), (2.4, 1), (1.2, 2), (1.2, 3)])
def test_failures_and_successes_enclose_the_load(truth: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    thresholds = truth + rng.normal(0.0, 0.4, 30)
    failed = truth + rng.normal(0.0, 0.1, 30) > thresholds
    found = estimate_load(thresholds.tolist(), failed.tolist())
    assert found.changed > 0.9
    assert found.mean == pytest.approx(truth, abs=2.5 * found.std) and found.std < 0.3
    loads = np.linspace(-1.0, 4.0, 501)
    assert loads[int(np.argmax(found.log_density(loads)))] == pytest.approx(found.mean, abs=0.02)


def test_successes_alone_say_that_nothing_changed() -> None:
    found = estimate_load([1.0] * 8, [False] * 8)
    assert found.changed < 0.5 * UNLIKELY_SHARE and found.mean < 1.0


@pytest.mark.parametrize("threshold", [-math.inf, math.inf])
def test_failures_that_no_load_explains_say_nothing(threshold: float) -> None:
    found = estimate_load([threshold] * 8, [True] * 8)
    assert found.changed == pytest.approx(UNLIKELY_SHARE) and found.mean == pytest.approx(CHANGED_MEAN, abs=0.05)
    assert np.isfinite(found.log_density(np.array([-9.0, 0.0, 9.0]))).all()


def test_one_failure_by_chance_is_no_change() -> None:
    assert estimate_load([2.0] * 8, [True, *[False] * 7]).changed < CHANGED_SHARE
