"""Explorer: what it practices, and what it reports, without any process around it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from floop_envs.seeds import Purpose, seed_of
from floop_robot.explore.analogy_exploration import AIM_RADIUS, AnalogyPolicy
from floop_robot.explore.explorer import Explorer
from floop_robot.monitor.shift_detector import KnownClass
from floop_robot.spec.layout import Vector
from floop_robot.spec.records import ActMode, EpisodeEnd, Record, Transition
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.tasks import get_task
from tests.support.sample_policies import TASK, episode_end, skilled

LAYOUT = get_task(TASK).spec.observation


class Records:
    """A sink that keeps what it is given, or has no room."""

    def __init__(self, room: bool = True) -> None:
        self.room = room
        self.all: list[Record] = []

    def put(self, record: Record) -> bool:
        self.all.append(record)
        return self.room

    @property
    def ends(self) -> list[EpisodeEnd]:
        return [r for r in self.all if isinstance(r, EpisodeEnd)]


def make_explorer(records: Records, **settings: float) -> Explorer:
    numbers = itertools.count()
    return Explorer(TASK, "panda", records, lambda: seed_of(Purpose.EXPLORER, 0, next(numbers)), **settings)


def fail_at_baskets(explorer: Explorer) -> None:
    for i in range(5):
        explorer.failures.observe(episode_end("basket", success=False, episode=i))


def test_known_tasks_are_practiced_while_nothing_fails() -> None:
    records = Records()
    explorer = make_explorer(records)
    for _ in range(6):
        explorer.explore(skilled().actor(), 3)
    explorer.close()
    assert {end.object.object_class for end in records.ends} <= {"box", "cylinder"}
    assert all(end.act_mode is ActMode.SAMPLE and end.policy_version == 3 for end in records.ends)
    rows = [r for r in records.all if isinstance(r, Transition)]
    assert explorer.counts.transitions == len(rows) == sum(end.steps for end in records.ends)
    assert all(math.isfinite(row.log_prob) for row in rows)
    assert explorer.counts.episodes == len({end.episode for end in records.ends}) == 6
    assert explorer.counts.successes == sum(end.outcome == 0 for end in records.ends)


def test_half_of_the_practice_is_on_what_fails_most_of_it_by_analogy() -> None:
    records = Records()
    explorer = make_explorer(records)
    fail_at_baskets(explorer)
    assert explorer.target_classes == ("basket",)
    for _ in range(24):
        explorer.explore(skilled().actor(), 1)
    classes = [end.object.object_class for end in records.ends]
    assert 6 <= classes.count("basket") <= 18
    by_analogy = [end for end in records.ends if end.act_mode is ActMode.TRIAL]
    assert by_analogy and {end.object.object_class for end in by_analogy} == {"basket"}
    explorer.forget_reports()
    assert explorer.target_classes == ()
    explorer.close()


def test_on_policy_learners_get_nothing_by_analogy() -> None:
    records = Records()
    explorer = make_explorer(records, analogy_share=0.0)
    fail_at_baskets(explorer)
    for _ in range(8):
        explorer.explore(skilled().actor(), 1)
    explorer.close()
    assert {end.act_mode for end in records.ends} == {ActMode.SAMPLE}


def test_records_without_room_are_counted() -> None:
    records = Records(room=False)
    explorer = make_explorer(records)
    explorer.explore(skilled().actor(), 1)
    explorer.close()
    assert explorer.counts.dropped == len(records.all) > 1


class Echo:
    """A policy that remembers what it was shown."""

    def __init__(self) -> None:
        self.shown = np.zeros(0, np.float32)

    def mean(self, observation: Vector) -> Vector:
        self.shown = observation
        return np.zeros(5, np.float32)

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        raise AssertionError("noise would spoil the aim")


@pytest.mark.parametrize("seed", range(5))
def test_an_analogy_shows_a_known_object_displaced_by_a_constant(seed: int) -> None:
    echo, known = Echo(), KnownClass("box", (0.04, 0.04, 0.04), (0.06, 0.06, 0.06))
    policy = AnalogyPolicy(echo, LAYOUT, known, np.random.default_rng(seed))
    true = np.zeros(LAYOUT.size, np.float32)
    true[LAYOUT.slices["object_size"]] = (0.1, 0.1, 0.05)
    true[LAYOUT.slices["object_class"].start + OBJECT_CLASSES.index("basket")] = 1.0
    _, density = policy.sample(true, np.random.default_rng(0))
    shown = echo.shown
    assert math.isnan(density)
    assert shown[LAYOUT.slices["object_size"]] == pytest.approx((0.06, 0.06, 0.05))
    assert OBJECT_CLASSES[int(shown[LAYOUT.slices["object_class"]].argmax())] == "box"
    start = LAYOUT.slices["object_from_tcp"].start
    displacement = shown[start : start + 2].copy()
    assert 0.0 < float(np.hypot(*displacement)) <= AIM_RADIUS * 0.1
    true[start] += 0.3
    policy.mean(true)
    assert echo.shown[start : start + 2] - true[start : start + 2] == pytest.approx(displacement, abs=1e-6)
