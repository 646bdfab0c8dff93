"""WaySearch on made-up regions of success: it finds one way that succeeds, stays with it, and forgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from floop_robot.explore.success_search import Space, Values
from floop_robot.explore.way_search import MAX_WAYS, Way, WaySearch, WayTry

SPACE = Space(
    draw=lambda rng: rng.uniform(-1.0, 1.0, 3),
    reach=np.full(3, 0.12),
    low=np.full(3, -1.0),
    high=np.full(3, 1.0),
    circular=np.array([False, False, True]),
)


def run(
    search: WaySearch, count: int, succeeds: Callable[[Values], bool], rng: np.random.Generator
) -> tuple[list[Values], list[bool]]:
    points, outcomes = [], []
    for _ in range(count):
        tried = search.draw(rng)
        success = succeeds(tried.point)
        search.outcome(tried, success=success)
        points.append(tried.point)
        outcomes.append(success)
    return points, outcomes


def near(*center: float, radius: float = 0.35) -> Callable[[Values], bool]:
    return lambda point: bool(np.abs(point - np.array(center)).max() < radius)


def share_of_most_frequent(points: list[Values]) -> float:
    return Counter(tuple(point) for point in points).most_common(1)[0][1] / len(points)


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_a_narrow_region(seed: int) -> None:
    rng, region = np.random.default_rng(seed), near(0.5, -0.4, 0.1)  # 4 % of the space
    search = WaySearch(SPACE)
    run(search, 150, region, rng)
    _, outcomes = run(search, 200, region, rng)
    assert sum(outcomes) > 0.5 * len(outcomes)


@pytest.mark.parametrize("seed", range(3))
def test_it_stays_with_one_way_of_many(seed: int) -> None:
    rng, search = np.random.default_rng(seed), WaySearch(SPACE)
    run(search, 20, lambda point: bool(point[0] > 0.0), rng)
    points, outcomes = run(search, 100, lambda point: bool(point[0] > 0.0), rng)
    assert share_of_most_frequent(points) == 1.0 and all(outcomes), "it never fails"


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_way_that_succeeds_most_often(seed: int) -> None:
    """Success differs from way to way, and is a matter of luck in each try."""
    rng, search = np.random.default_rng(seed), WaySearch(SPACE)
    chance = lambda point: 0.5 + 0.5 * (1.0 + point[0]) / 2.0  # noqa: E731
    points, _ = run(search, 600, lambda point: bool(rng.random() < chance(point)), rng)
    assert np.mean([chance(point) for point in points[-200:]]) > 0.85, "anywhere, it is 0.75"


@pytest.mark.parametrize("seed", range(3))
def test_ways_that_succeed_seldom_are_tried_again_where_others_never_succeed(seed: int) -> None:
    rng, search, region = np.random.default_rng(seed), WaySearch(SPACE), near(0.5, -0.4, 0.1, radius=0.5)
    _, outcomes = run(search, 600, lambda point: region(point) and bool(rng.random() < 0.3), rng)
    assert sum(outcomes[300:]) > 0.2 * 300, "anywhere, 4 % succeed"


@pytest.mark.parametrize("seed", range(3))
def test_where_success_is_too_rare_to_be_met_it_goes_where_tries_come_furthest(seed: int) -> None:
    rng, search, goal = np.random.default_rng(seed), WaySearch(SPACE), np.array([0.7, -0.7, 0.2])
    found = []
    for _ in range(400):
        tried = search.draw(rng)
        away = float(np.abs(tried.point - goal).max())
        search.outcome(tried, success=away < 0.12, score=-away)  # 2 in 10,000 of all points
        found.append(away < 0.12)
    assert sum(found) >= 10
    assert sum(found[300:]) > 0.1 * 100


def test_it_forgets_what_no_longer_succeeds() -> None:
    rng, search = np.random.default_rng(0), WaySearch(SPACE)
    run(search, 200, near(0.5, 0.5, 0.5), rng)
    now = near(-0.5, -0.5, -0.5)
    run(search, 250, now, rng)
    _, outcomes = run(search, 100, now, rng)
    assert sum(outcomes) > 0.5 * len(outcomes)
    assert len(search.ways) <= MAX_WAYS


def test_points_stay_within_the_space_and_circles_close() -> None:
    rng = np.random.default_rng(0)
    for start in (SPACE.low, SPACE.high):
        moved = np.stack([SPACE.near(start, rng) for _ in range(500)])
        assert (moved >= SPACE.low).all() and (moved <= SPACE.high).all()
        assert (moved[:, :2] * start[:2] > 0.0).all()
        assert {-1.0, 1.0} == set(np.sign(moved[:, 2]).tolist())


def test_nothing_but_chance_while_all_fail_alike() -> None:
    rng, search = np.random.default_rng(0), WaySearch(SPACE)
    points, _ = run(search, 300, lambda _: False, rng)
    assert not search.ways
    assert np.stack(points).std(axis=0) == pytest.approx(np.full(3, 2.0 / np.sqrt(12.0)), rel=0.1)


def test_the_worst_of_many_ways_is_given_up() -> None:
    rng, search = np.random.default_rng(0), WaySearch(SPACE)
    found = [WayTry(Way(SPACE.draw(rng))) for _ in range(MAX_WAYS)]
    for tried in found:
        search.outcome(tried, success=True)
    search.outcome(found[5], success=False)
    search.outcome(WayTry(Way(SPACE.draw(rng))), success=True)
    assert len(search.ways) == MAX_WAYS
    assert not any(way is found[5].way for way in search.ways)


def test_a_way_that_succeeded_once_is_no_stand_in() -> None:
    rng, search = np.random.default_rng(0), WaySearch(SPACE)
    for number in range(20):
        search.outcome(WayTry(Way(SPACE.draw(rng))), success=False, score=0.01 * number)
    first = WayTry(Way(SPACE.draw(rng)))
    search.outcome(first, success=True, score=1.0)
    for number in range(20):
        search.outcome(WayTry(first.way, is_new=False), success=False, score=2.0 + number)
    assert not any(way is first.way for way in search._stand_ins)
