"""Grasps are physical: they hold by friction, fail without it, and are felt in width and effort."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from floop_envs.env import ArmEnv, make_env
from floop_envs.expert import Expert
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios, model_of
from floop_envs.seeds import Purpose, scenarios_of
from floop_envs.shifts import shifted_scenarios
from floop_robot.spec.scenario import ObjectSpec, Scenario
from floop_robot.spec.tasks.grasp_state import GraspParameters
from tests.support.rim_expert import RimExpert

PICK, PLACE = "floop/Pick-v0", "floop/PickPlace-v0"
DOWN, STAY = np.array([0, 0, -1, 0, 1], np.float32), np.array([0, 0, 0, 0, -1], np.float32)


@pytest.fixture(scope="module")
def env() -> ArmEnv:
    return make_env(PICK)


def thing(name: str, side: float, mass: float = 0.3, friction: float = 0.6) -> ObjectSpec:
    shape = model_of(name).shape
    return ObjectSpec(object_class=name, shape=shape, size_m=(side,) * 3, mass_kg=mass, lateral_friction=friction)


def scenario(spec: ObjectSpec, **world: object) -> Scenario:
    # Turned by a tenth of a radian: nothing here needs the fingers to lie flat from the start.
    return Scenario(task=PICK, seed=3, object=spec, object_xy_m=(0.5, 0.05), object_yaw_rad=0.1, **world)  # type: ignore[arg-type]


def hold(env: ArmEnv, seconds: float) -> float:
    """Hold still; how far the object creeps in the hand meanwhile (m)."""
    before = np.array(env.world.truth().object_position_m)
    for _ in range(round(seconds * env.rules.spec.policy_rate_hz)):
        env.step(STAY)
    return float(np.linalg.norm(env.world.truth().object_position_m - before))


@pytest.mark.parametrize(("name", "side"), [("box", 0.036), ("box", 0.06), ("cylinder", 0.05), ("sphere", 0.05)])
def test_the_heaviest_known_objects_creep_less_than_a_millimeter(env: ArmEnv, name: str, side: float) -> None:
    assert run_episode(env, Expert(env.rules.spec), scenario(thing(name, side))).true_success
    hold(env, 0.3)
    assert hold(env, 2.0) < 1e-3
    assert env.world.truth().finger_contacts == 2
    assert env.state.gripper_effort_n > 2 * GraspParameters().min_effort_n


def test_without_friction_nothing_is_lifted(env: ArmEnv) -> None:
    result = run_episode(env, Expert(env.rules.spec), scenario(thing("box", 0.05, friction=0.02)))
    assert not result.success and not result.true_success


def test_a_weak_gripper_drops_what_is_heavy(env: ArmEnv) -> None:
    weak = scenario(thing("box", 0.05, mass=0.8), gripper_force_n=6.0)
    assert not run_episode(env, Expert(env.rules.spec), weak).true_success
    strong = msgspec.structs.replace(weak, gripper_force_n=20.0)
    assert run_episode(env, Expert(env.rules.spec), strong).true_success


def test_closing_on_nothing_is_not_a_grasp(env: ArmEnv) -> None:
    env.reset(options={"scenario": scenario(thing("box", 0.05))})
    efforts = []
    for action in [STAY] * 12 + [DOWN] * 2:
        env.step(action)
        efforts.append(env.state.gripper_effort_n)
    assert max(efforts) < GraspParameters().min_effort_n


@pytest.mark.parametrize(("task", "count"), [(PICK, 40), (PLACE, 20)])
def test_demonstrations_of_known_tasks_succeed(task: str, count: int) -> None:
    env = make_env(task)
    scenarios = scenarios_of(TrainingScenarios(task), Purpose.DEMONSTRATION, 9, count)
    results = [run_episode(env, Expert(env.rules.spec), s) for s in scenarios]
    assert np.mean([r.success for r in results]) >= 0.97
    assert all(r.success == r.true_success for r in results)
    assert sum(r.limit_violations for r in results) == 0


def test_baskets_defeat_the_expert_but_can_be_grasped_at_the_rim(env: ArmEnv) -> None:
    baskets = scenarios_of(shifted_scenarios("new-object", PICK), Purpose.ROBOT, 9, 16)
    old = [run_episode(env, Expert(env.rules.spec), s) for s in baskets]
    rim = [run_episode(env, RimExpert(env), s) for s in baskets]
    assert np.mean([r.true_success for r in old]) <= 0.45
    assert np.mean([r.success and r.true_success for r in rim]) >= 0.9
