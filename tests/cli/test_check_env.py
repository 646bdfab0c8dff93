"""`floop check env` tells a line for each property, or why an environment can't be trained."""

import json
import re

import pytest
from click.testing import CliRunner

from floop_robot.cli.check import check
from floop_robot.train.environments.gym_training_env import GymTrainingEnv

MODULE = "tests.support.odd_envs"


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(check, ["env", *arguments], standalone_mode=False)
    assert done.exception is None, done.exception
    return int(done.return_value), done.output


def test_a_line_for_each_property() -> None:
    status, said = run(f"{MODULE}:Goal-v0")
    assert status == 0
    lines = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert "achieved_goal: Box" in lines["observation"] and "6 numbers" in lines["observation"]
    assert lines["success"].startswith("told by info")
    assert "(HER)" in lines["goals"] and "agree" in lines["goals"]
    assert lines["determinism"].startswith("the same seed")
    assert "floop train --env" in lines["trained"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Unseeded", "differs at reset for the same seed"),
        ("Point", "cut after 1000 steps"),
        ("Short", "finite, in the declared"),
        ("WrongRate", "rate         unknown"),
    ],
)
def test_what_is_odd_but_can_be_trained_is_told(name: str, says: str) -> None:
    status, said = run(f"{MODULE}:{name}-v0")
    assert status == 0 and says in said


def test_an_environment_that_can_not_be_closed_is_told_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    status, _ = run(f"{MODULE}:ClosesBadly-v0")
    told = capfd.readouterr().err.splitlines()
    assert status == 0 and told
    assert all(re.match(r"\S*ClosesBadly-v0: close\(\) raised RuntimeError.*viewer is gone", line) for line in told)


@pytest.mark.parametrize(
    ("env_id", "says"),
    [
        (f"{MODULE}:NanAtStep3-v0", "observation[1] is nan, at step 3"),
        (f"{MODULE}:SuccessText-v0", "wrong info['is_success']: 'False', at step 20"),
        (f"{MODULE}:Closed-v0", "raised KeyboardInterrupt (odd_envs.py"),
        (f"{MODULE}:Only-v0", "floop makes two at once in each process"),
        ("Pendulum-v0", "use `Pendulum-v1`"),
    ],
)
def test_what_cannot_be_trained_is_status_2_and_one_line(
    env_id: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, said = run(env_id, "--json")
    result = json.loads(said)
    assert status == 2 and not result["ok"]
    assert says in result["faults"][0]["line"]
    assert not capfd.readouterr().err


def test_rewards_for_goals_that_are_not_those_of_the_steps_are_told_as_by_a_training() -> None:
    status, said = run(f"{MODULE}:WrongGoal-v0")
    (note,) = (n for n in GymTrainingEnv(f"{MODULE}:WrongGoal-v0", 0).description.notes if "compute_reward says" in n)
    assert status == 0 and f"(HER); {note}" in said


def test_what_a_training_on_images_leaves_out_of_an_info_is_told() -> None:
    status, said = run(f"{MODULE}:OddInfoImage-v0")
    assert status == 0 and "info['sim'] (lock) cannot be read in another process" in said
