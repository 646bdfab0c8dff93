"""Tasks judge observations and nothing else."""

import itertools
import timeit

import numpy as np
import pytest

from floop_robot.spec.errors import UnknownName
from floop_robot.spec.ids import contract_id, reward_id
from floop_robot.spec.layout import Vector
from floop_robot.spec.task import TaskProgress, TaskRules
from floop_robot.spec.tasks import get_task, task_ids
from floop_robot.spec.tasks.pick import PickParameters, PickRules

PICK, PLACE = "floop/Pick-v0", "floop/PickPlace-v0"


def seen(
    rules: TaskRules,
    *,
    away: float = 0.0,
    lift: float = 0.0,
    width: float = 0.05,
    effort: float = 20.0,
    tote: tuple[float, float] = (0.3, 0.0),
    size: tuple[float, float, float] = (0.05, 0.05, 0.05),
) -> Vector:
    """An observation of an object held `lift` above the table."""
    parts = {
        "object_from_tcp": (away, 0.0, 0.0), "object_height": 0.5 * size[2] + lift, "object_size": size,
        "gripper_width": width, "gripper_effort": effort,
    }  # fmt: skip
    if rules.spec.id == PLACE:
        parts["tote_from_object"] = (*tote, -lift)
    return rules.spec.observation.pack(**parts)


def run(rules: TaskRules, observations: list[Vector]) -> list[bool]:
    progress, out = rules.start(), []
    for before, after in itertools.pairwise(observations):
        judgement = rules.judge(progress, before, after)
        progress = judgement.progress
        out.append(judgement.success)
    return out


@pytest.mark.parametrize("task", task_ids())
def test_normalised_values_are_of_order_one(task: str) -> None:
    layout = get_task(task).spec.observation
    reach = np.maximum(abs(layout.low - layout.offset), abs(layout.high - layout.offset)) / layout.scale
    assert (reach <= 12).all() and (reach >= 0.2).all()


def test_picking_needs_three_steps_in_a_row_up_and_held() -> None:
    rules = get_task(PICK)
    up, down, lost = seen(rules, lift=0.11), seen(rules, lift=0.05), seen(rules, lift=0.11, effort=0.0)
    assert run(rules, [down, up, up, up]) == [False, False, True]
    assert run(rules, [down, up, up, lost, up, up]) == [False] * 5
    assert run(rules, [down] * 8) == [False] * 7


@pytest.mark.parametrize(
    "missing", [{"effort": 1.0}, {"width": 0.0}, {"away": 0.12}, {"size": (0.0, 0.0, 0.0)}], ids=lambda m: next(iter(m))
)
def test_no_grasp_is_inferred_without(missing: dict[str, float]) -> None:
    rules = get_task(PICK)
    assert not any(run(rules, [seen(rules, lift=0.12, **missing)] * 6))  # type: ignore[arg-type]


def test_a_rim_counts_as_grasp() -> None:
    rules = get_task(PICK)
    rim = seen(rules, away=0.05, lift=0.11, width=0.005, effort=12.0, size=(0.1, 0.1, 0.06))
    assert run(rules, [rim] * 4)[-1]


def test_placing_needs_the_object_in_the_tote_and_open_fingers() -> None:
    rules = get_task(PLACE)
    held, left = seen(rules, tote=(0.02, 0.0)), seen(rules, tote=(0.02, 0.0), effort=0.0)
    aside, above = seen(rules, tote=(0.1, 0.0), effort=0.0), seen(rules, tote=(0.02, 0.0), lift=0.1, effort=0.0)
    assert run(rules, [left] * 4)[-1]
    for never in (held, aside, above):
        assert not any(run(rules, [never] * 6))


def test_shaping_pays_nothing_for_walking_in_circles() -> None:
    rules = PickRules(parameters=PickParameters(gamma=1.0))
    ring = [seen(rules, away=a, effort=0.0) for a in (0.3, 0.1, 0.0, 0.2, 0.3)]
    rewards = [rules.judge(TaskProgress(), a, b).reward for a, b in itertools.pairwise(ring)]
    assert sum(rewards) == pytest.approx(-4 * rules.parameters.scale * rules.parameters.step_cost, abs=1e-4)


def test_progress_pays() -> None:
    rules = get_task(PICK)
    way = [seen(rules, away=0.3, effort=0.0), seen(rules, effort=0.0), seen(rules), seen(rules, lift=0.05)]
    rewards = [rules.judge(TaskProgress(), a, b).reward for a, b in itertools.pairwise(way)]
    assert min(rewards) > 1.0


def test_judging_is_pure_and_cheap() -> None:
    rules = get_task(PLACE)
    a, b = seen(rules, away=0.1), seen(rules, lift=0.05)
    before = a.copy(), b.copy()
    assert rules.judge(TaskProgress(), a, b) == rules.judge(TaskProgress(), a, b)
    assert np.array_equal(a, before[0]) and np.array_equal(b, before[1])
    assert min(timeit.repeat(lambda: rules.judge(TaskProgress(), a, b), number=200, repeat=5)) / 200 < 100e-6


def test_ids_change_with_what_they_hash() -> None:
    pick = PickRules()
    assert reward_id(pick) != reward_id(PickRules(parameters=PickParameters(step_cost=0.02)))
    assert contract_id(pick.spec) == contract_id(PickRules(parameters=PickParameters(step_cost=0.02)).spec)
    assert contract_id(pick.spec) != contract_id(PickRules(policy_rate_hz=20.0).spec)


def test_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'floop/PickPlace-v0'"):
        get_task("floop/PickPlce-v0")
