"""The shipped policies: they fit their tasks, and repeat the actions that were stored when they were made."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from floop_policies import NAMES, baseline, checkpoint_path, recipe_path
from floop_robot.bundle import Bundle, verify
from floop_robot.learn.checkpoint import Checkpoint
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task, task_ids


@pytest.mark.parametrize("algo", ["sac", "ppo"])
@pytest.mark.parametrize("task", task_ids())
def test_every_task_has_a_policy_that_a_robot_accepts(task: str, algo: str) -> None:
    rules, robot = get_task(task), load_robot("panda")
    bundle = Bundle.load(baseline(task, algo))
    assert bundle.manifest.algo == algo
    verified = verify(bundle, rules.spec, ids_of(rules, robot), where="robot_1")
    assert verified.notes == ()
    middle = 0.5 * (rules.spec.observation.low + rules.spec.observation.high)
    action = verified.actor.mean(middle.astype(np.float32))
    assert action.shape == (5,)
    assert (np.abs(action) <= 1.0).all()


@pytest.mark.parametrize("name", NAMES.values())
def test_a_learner_can_continue_from_the_checkpoint(name: str) -> None:
    checkpoint = Checkpoint.load(checkpoint_path(name))
    assert {c.object_class for c in checkpoint.info.known.classes} == {"box", "cylinder"}


@pytest.mark.parametrize(("made_for", "name"), NAMES.items())
def test_every_policy_has_its_recipe(made_for: tuple[str, str], name: str) -> None:
    recipe = yaml.safe_load(recipe_path(name).read_text(encoding="utf-8"))
    assert (recipe["task"], recipe["algo"]) == made_for


def test_a_task_without_a_policy_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no policy of sac is shipped for task 'floop/Pick-v9' \(only for "):
        baseline("floop/Pick-v9")
