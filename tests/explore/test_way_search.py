"""WaySearch on made-up regions of success: it finds one way that succeeds, stays with it, and forgets."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

from floop_robot.explore.search_space import Values
from floop_robot.explore.way_search import FIRST_FAILURES, MAX_WAYS, Way, WaySearch, WayTry
from tests.explore.test_success_search import SPACE, near, run


def share_of_most_frequent(points: list[Values]) -> float:
    return Counter(tuple(point) for point in points).most_common(1)[0][1] / len(points)


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
    assert sum(outcomes[300:]) > 0.15 * 300, "anywhere, 4 % succeed"


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


def test_the_best_way_at_other_work_is_tried_first() -> None:
    rng, best = np.random.default_rng(0), dict[str, Values]()
    boxes, cylinders = WaySearch(SPACE, "box", best), WaySearch(SPACE, "cylinder", best)
    way = Way(SPACE.draw(rng))
    boxes.outcome(WayTry(way), success=True)
    assert cylinders.draw(rng).point is not way.point, "one success is not enough"
    boxes.outcome(WayTry(way), success=True)
    cylinders.outcome(cylinders.draw(rng), success=False)
    taken = cylinders.draw(rng)
    assert taken.point is way.point
    cylinders.outcome(taken, success=False)
    assert cylinders.draw(rng).point is not way.point, "it is tried once"


def test_the_best_ways_of_any_number_of_classes_are_tried_once_each() -> None:
    rng = np.random.default_rng(0)
    best = {f"class_{i}": SPACE.draw(rng) for i in range(200)}
    search = WaySearch(SPACE, "mine", best)
    drawn = []
    for _ in range(300):
        tried = search.draw(rng)
        search.outcome(tried, success=False)
        drawn.append(tried.point)
    assert sum(any(point is other for other in best.values()) for point in drawn) == 200


def test_new_ways_lie_where_tries_near_them_succeeded() -> None:
    rng, search = np.random.default_rng(0), WaySearch(SPACE)
    for number in range(200):  # half of the tries succeed on one side, none on the other
        way = Way(SPACE.draw(rng))
        search.outcome(WayTry(way), success=bool(way.point[0] > 0.0 and number % 2))
    new = np.array([search._new(rng) for _ in range(200)])
    assert np.mean(new[:, 0] > 0.0) > 0.95, "near the best ways or anywhere, it is 0.8"


def test_ways_that_the_space_names_come_first_and_are_given_up_later() -> None:
    named = (np.array([0.25, 0.25]), np.array([0.75, 0.75]))
    search, rng, tried = WaySearch(msgspec.structs.replace(SPACE, first=named)), np.random.default_rng(0), []
    while len(tried) < 2 * FIRST_FAILURES + 1:
        way = search.draw(rng)
        search.outcome(way, success=False)
        tried.append(way.point)
    assert all(point is named[0] for point in tried[:FIRST_FAILURES])
    assert all(point is named[1] for point in tried[FIRST_FAILURES:-1])
    assert not any(tried[-1] is point for point in named)


def test_a_way_comes_back_from_no_other_search() -> None:
    rng, best = np.random.default_rng(0), dict[str, Values]()
    boxes, cylinders = WaySearch(SPACE, "box", best), WaySearch(SPACE, "cylinder", best)
    way = Way(SPACE.draw(rng))
    boxes.outcome(WayTry(way), success=True)
    boxes.outcome(WayTry(way), success=True)
    taken = cylinders.draw(rng)
    for _ in range(3):
        cylinders.outcome(taken, success=True)
    assert best["cylinder"] is way.point
    assert boxes._new(rng) is not way.point
