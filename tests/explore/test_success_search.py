"""SuccessSearch on made-up regions of success: it finds narrow ones, keeps to all of a wide one, and forgets."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from floop_robot.explore.search_space import Space, Values
from floop_robot.explore.success_search import MAX_PARENTS, SuccessSearch
from floop_robot.explore.way_search import WaySearch

SPACE = Space(
    draw=lambda rng: rng.uniform(-1.0, 1.0, 3),
    reach=np.full(3, 0.12),
    low=np.full(3, -1.0),
    high=np.full(3, 1.0),
    circular=np.array([False, False, True]),
    stops=np.zeros(3, np.bool_),
)

Kind = type[SuccessSearch] | type[WaySearch]
KINDS = (SuccessSearch, WaySearch)


def run(
    search: SuccessSearch | WaySearch, count: int, succeeds: Callable[[Values], bool], rng: np.random.Generator
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_it_finds_a_narrow_region(seed: int, kind: Kind) -> None:
    rng, region = np.random.default_rng(seed), near(0.5, -0.4, 0.1)  # 4 % of the space
    search = kind(SPACE)
    run(search, 150, region, rng)
    _, outcomes = run(search, 200, region, rng)
    assert sum(outcomes) > 0.5 * len(outcomes)


@pytest.mark.parametrize("seed", range(3))
def test_it_keeps_to_all_of_a_wide_region(seed: int) -> None:
    rng = np.random.default_rng(seed)
    search = SuccessSearch(SPACE)
    points, _ = run(search, 600, lambda point: bool(point[0] > 0.3), rng)
    assert len(search.parents) <= MAX_PARENTS
    late = np.stack(points[300:])
    good = late[late[:, 0] > 0.3]
    assert len(good) > 0.6 * len(late)
    for axis in (1, 2):
        shares = np.histogram(good[:, axis], bins=4, range=(-1.0, 1.0))[0] / len(good)
        assert shares.min() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_where_success_is_too_rare_to_be_met_it_goes_where_tries_come_furthest(seed: int, kind: Kind) -> None:
    rng, search, goal = np.random.default_rng(seed), kind(SPACE), np.array([0.7, -0.7, 0.2])
    found = []
    for _ in range(400):
        tried = search.draw(rng)
        away = float(np.abs(tried.point - goal).max())
        search.outcome(tried, success=away < 0.12, score=-away)  # 2 in 10,000 of all points
        found.append(away < 0.12)
    assert sum(found) >= 10
    assert sum(found[300:]) > 0.1 * 100


@pytest.mark.parametrize("kind", KINDS)
def test_it_forgets_what_no_longer_succeeds(kind: Kind) -> None:
    rng, search = np.random.default_rng(0), kind(SPACE)
    run(search, 200, near(0.5, 0.5, 0.5), rng)
    now = near(-0.5, -0.5, -0.5)
    run(search, 250, now, rng)
    _, outcomes = run(search, 100, now, rng)
    assert sum(outcomes) > 0.5 * len(outcomes)


def test_points_stay_within_the_space_and_circles_close() -> None:
    rng = np.random.default_rng(0)
    for start in (SPACE.low, SPACE.high):
        moved = np.stack([SPACE.near(start, rng) for _ in range(500)])
        assert (moved >= SPACE.low).all() and (moved <= SPACE.high).all()
        assert (moved[:, :2] * start[:2] > 0.0).all()
        assert {-1.0, 1.0} == set(np.sign(moved[:, 2]).tolist())
    assert SPACE.are_near(np.array([0.0, 0.0, 0.95]), np.array([[0.0, 0.0, -0.95]])).all()
    assert not SPACE.are_near(np.array([0.95, 0.0, 0.0]), np.array([[-0.95, 0.0, 0.0]])).any()


def test_points_are_close_across_the_ends_of_a_circle_and_within_a_class_only() -> None:
    space = msgspec.structs.replace(SPACE, reach=np.array([0.0, 0.12, 0.12]))
    point = np.array([[0.0, 0.0, 0.95]])
    others = np.array([[0.0, 0.0, 0.95], [0.0, 0.0, -0.95], [0.0, 0.24, 0.95], [0.0, 0.95, 0.95], [1.0, 0.0, 0.95]])
    close = space.closeness(point, others)[0]
    assert close[0] == 1.0 and close[1] > 0.9, "two steps apart, around the circle"
    assert close[2] == pytest.approx(np.exp(-0.5)) and close[3] < 0.01
    assert close[4] == 0.0, "another class"


def test_an_end_that_stops_steps_keeps_half_of_them() -> None:
    rng, space = np.random.default_rng(0), msgspec.structs.replace(SPACE, stops=np.array([True, False, False]))
    moved = np.stack([space.near(np.ones(3), rng) for _ in range(500)])
    assert 0.4 < np.mean(moved[:, 0] == 1.0) < 0.6 and not (moved[:, 1] == 1.0).any()
    assert (moved <= 1.0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_chance_while_all_fail_alike(kind: Kind) -> None:
    rng, search = np.random.default_rng(0), kind(SPACE)
    points, _ = run(search, 300, lambda _: False, rng)
    assert np.stack(points).std(axis=0) == pytest.approx(np.full(3, 2.0 / np.sqrt(12.0)), rel=0.1)
