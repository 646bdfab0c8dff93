"""Errors: one line that says what was wrong, where, and what to do."""

from __future__ import annotations

import pytest

from floop_robot.spec.errors import ContractMismatch, FloopError, StorageError, UnknownName


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    error = UnknownName("task", "floop/Pik-v0", ["floop/PickPlace-v0", "floop/Pick-v0"], "fleet.yaml")
    assert str(error) == "unknown task 'floop/Pik-v0' in fleet.yaml; did you mean 'floop/Pick-v0'?"


def test_without_a_near_one_all_known_names_are_listed_in_order() -> None:
    assert str(UnknownName("robot", "zzz", ["ur5e", "panda"])) == "unknown robot 'zzz'; known: panda, ur5e"
    assert str(UnknownName("robot", 7, [])) == "unknown robot '7'; known: none"


def test_a_long_list_is_cut_to_the_nearest_few() -> None:
    known = [f"policy_{number:02d}" for number in range(UnknownName.SHOWN + 1)]
    line = str(UnknownName("policy", "x", known))
    assert line.endswith(f"… ({len(known)} in all)") and line.count("policy_") == 4
    assert str(UnknownName("policy", "x", known[:-1])).count("policy_") == UnknownName.SHOWN


def test_a_contract_mismatch_names_both_sides_and_the_cure() -> None:
    error = ContractMismatch("policy v9", "27 observations", "r3", "25 observations", "Train again.")
    assert str(error) == "policy v9 has 27 observations, but r3 has 25 observations. Train again."


@pytest.mark.parametrize("kind", [UnknownName("a", "b", []), StorageError("full")])
def test_every_user_error_is_a_floop_error(kind: Exception) -> None:
    assert isinstance(kind, FloopError) and "\n" not in str(kind)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("robot_7", "known: robot_1, robot_2"),
        ("robot_12", "known: robot_1, robot_2"),
        ("robot", "known: robot_1, robot_2"),
        ("robbot_1", "did you mean 'robot_1'?"),
        ("Robot2", "did you mean 'robot_2'?"),
    ],
)
def test_a_guess_never_names_another_number(name: str, hint: str) -> None:
    assert str(UnknownName("robot", name, ["robot_2", "robot_1"])) == f"unknown robot {name!r}; {hint}"
