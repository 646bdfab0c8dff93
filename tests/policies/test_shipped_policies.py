"""The shipped policies: they fit their tasks, and repeat the actions that were stored when they were made."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from floop_envs.env import make_env
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_envs.shifts import shifted_scenarios
from floop_policies import NAMES, baseline, checkpoint_path, recipe_path
from floop_robot.bundle import Bundle, verify
from floop_robot.explore.analogy_exploration import AnalogyPolicy, analogies
from floop_robot.explore.explorer import KNOWN
from floop_robot.learn.checkpoint import Checkpoint
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.scenario import Scenario
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


@pytest.mark.parametrize(
    ("task", "algo"), [("floop/Pick-v0", "sac"), ("floop/Pick-v0", "ppo"), ("floop/PickPlace-v0", "ppo")]
)
def test_tries_by_analogy_succeed_at_new_objects(task: str, algo: str) -> None:
    """PPO can only imitate what tries achieve: with one in eight it hardly recovered."""
    rng = np.random.default_rng(0)
    env, policy = make_env(task), Bundle.load(baseline(task, algo)).actor()
    layout = env.rules.spec.observation
    space = analogies(len(KNOWN))

    def attempt(scenario: Scenario) -> bool:
        actor = AnalogyPolicy(policy, layout, KNOWN, space.draw(rng), env.yaws_rad)
        return run_episode(env, actor, scenario, rng, sample=True).success

    baskets = scenarios_of(shifted_scenarios("new-object", task), Purpose.TRAINING, 0, 24)
    assert sum(attempt(scenario) for scenario in baskets) >= 8
    env.close()


@pytest.mark.parametrize("task", ["floop/Pick-v0", "floop/PickPlace-v0"])
def test_the_samples_of_the_ppo_policy_succeed_at_known_tasks(task: str) -> None:
    """PPO learns from samples alone."""
    rng = np.random.default_rng(0)
    env, policy = make_env(task), Bundle.load(baseline(task, "ppo")).actor()
    known = scenarios_of(TrainingScenarios(task), Purpose.TRAINING, 0, 16)
    assert sum(run_episode(env, policy, each, rng, sample=True).success for each in known) >= 11
    env.close()
