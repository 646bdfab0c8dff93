"""Ids: what must agree before data and policies meet, each for its own reason."""

from __future__ import annotations

import msgspec
import pytest

from floop_robot.spec.ids import contract_id, ids_of, limits_id, reward_id
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task, task_ids
from floop_robot.spec.tasks.pick import PickParameters, PickRules

PICK = get_task("floop/Pick-v0")
PANDA = load_robot("panda")


def test_the_three_ids_are_those_of_their_parts() -> None:
    ids = ids_of(PICK, PANDA)
    assert (ids.contract, ids.limits, ids.reward) == (contract_id(PICK.spec), limits_id(PANDA), reward_id(PICK))
    assert len({ids.contract, ids.limits, ids.reward}) == 3


def test_a_tightened_limit_changes_only_the_limits() -> None:
    limits = msgspec.structs.replace(PANDA.limits, workspace_low_m=(0.3, -0.2, 0.1))
    before, after = ids_of(PICK, PANDA), ids_of(PICK, msgspec.structs.replace(PANDA, limits=limits))
    assert after.limits != before.limits
    assert (after.contract, after.reward) == (before.contract, before.reward)


def test_another_reward_changes_only_the_reward() -> None:
    other = PickRules(parameters=PickParameters(hold_s=0.24, success_bonus=6.0))
    before, after = ids_of(PICK, PANDA), ids_of(other, PANDA)
    assert after.reward != before.reward and after.contract == before.contract


@pytest.mark.parametrize("change", [{"policy_rate_hz": 20.0}, {"meaning": "another"}, {"max_steps": 7}])
def test_whatever_data_mean_is_part_of_the_contract(change: dict[str, object]) -> None:
    assert contract_id(msgspec.structs.replace(PICK.spec, **change)) != contract_id(PICK.spec)


def test_each_task_and_each_arm_has_ids_of_its_own() -> None:
    assert len({contract_id(get_task(task).spec) for task in task_ids()}) == len(task_ids())
    assert len({limits_id(load_robot(name)) for name in ("panda", "ur5e", "ur10e", "xarm6", "xarm7")}) == 5
