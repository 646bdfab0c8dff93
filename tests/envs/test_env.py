"""The environments as Gymnasium and stable-baselines3 see them, and episodes that repeat to the bit."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import msgspec
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from floop_envs.env import ArmEnv, make_env
from floop_envs.expert import Expert
from floop_envs.perception import Perception
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_envs.shifts import shifted_scenarios
from floop_envs.world import SERVO_RATE_HZ, World
from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.tasks import task_ids

PICK = "floop/Pick-v0"


def scenarios(count: int) -> list[Scenario]:
    """Known and shifted tasks, in turn."""
    known = scenarios_of(TrainingScenarios(PICK), Purpose.ROBOT, 1, count)
    shifted = scenarios_of(shifted_scenarios("new-object", PICK), Purpose.ROBOT, 1, count)
    return [s for pair in zip(known, shifted, strict=True) for s in pair]


def digest(env: ArmEnv, scenario: Scenario) -> str:
    trace = run_episode(env, Expert(env.rules.spec), scenario, sample=True, record_trace=True).trace
    rows = b"".join(s.next_obs.tobytes() + s.action.tobytes() + np.float64(s.reward).tobytes() for s in trace)
    return hashlib.sha256(rows).hexdigest()


@pytest.mark.parametrize("task", task_ids())
@pytest.mark.filterwarnings("error")
def test_checkers_of_gymnasium_and_sb3_find_nothing(task: str) -> None:
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    env = gymnasium.make(f"floop_envs:{task}", disable_env_checker=True)
    check_env(env.unwrapped, skip_render_check=True)
    sb3_check_env(env.unwrapped)
    env.close()


def test_same_scenario_same_episode_whatever_came_before() -> None:
    both, first, second = scenarios(2), make_env(PICK), make_env(PICK)
    forwards = [digest(first, s) for s in both]
    backwards = [digest(second, s) for s in reversed(both)]
    assert forwards == backwards[::-1] == [digest(first, s) for s in both]
    assert len(set(forwards)) == len(both)


def test_same_scenario_same_episode_on_a_recycled_client() -> None:
    env, both = make_env(PICK), scenarios(2)
    before = [digest(env, s) for s in both]
    env.world.close()
    env.world = World(env.robot, recycle_after=2)
    assert [digest(env, s) for s in both] == before


def test_same_scenario_same_episode_in_another_process() -> None:
    program = "from tests.envs.test_env import *; print(*[digest(make_env(PICK), s) for s in scenarios(1)])"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=100, check=True,
        # Kernels of BLAS differ in the last digit; what chooses them (OPENBLAS_CORETYPE) must be the same.
        env=os.environ | {"PYTHONPATH": f"{root}:{root / 'envs'}"},
    )  # fmt: skip
    env = make_env(PICK)
    assert done.stdout.split() == [digest(env, s) for s in scenarios(1)]


def test_seed_decides_the_scenario() -> None:
    env = make_env(PICK)
    a, _ = env.reset(seed=5)
    first = env.scenario
    b, _ = env.reset(seed=5)
    assert env.scenario == first and np.array_equal(a, b)
    env.reset(seed=6)
    assert env.scenario != first


def test_step_reports_what_records_need() -> None:
    env = make_env(PICK)
    env.reset(seed=0)
    _, _, _, _, info = env.step(np.array([0.5, 0.0, -0.5, 0.0, 1.0], np.float32))
    assert np.allclose(info["action"], [0.5, 0.0, -0.5, 0.0, 1.0])
    assert (info["interventions"], info["limit_violations"], info["is_success"]) == (0, 0, False)


def test_random_actions_never_leave_the_limits() -> None:
    env, rng = make_env(PICK), np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (400, 5)).astype(np.float32)
    actions[200:, 2] = -1.0  # press down, whatever is there
    violations = 0
    env.reset(options={"scenario": scenarios(1)[1]})
    for action in actions:
        _, _, terminated, truncated, info = env.step(action)
        violations += info["limit_violations"]
        if terminated or truncated:
            env.reset(options={"scenario": scenarios(1)[1]})
    assert violations == 0


def test_a_joint_that_was_held_back_does_not_spring_to_its_target() -> None:
    env = make_env(PICK)
    env.reset(seed=0)
    home, top = env.robot.home_rad, env.robot.limits.velocity_rad_s[5]
    ahead = (*home[:5], home[5] - 0.3, home[6])
    env.world.servo_tick(ahead, (0.0,) * 7, 0.08, 20.0)
    moved = home[5] - env.world.joints()[0][5]
    assert 0.8 * top / SERVO_RATE_HZ < moved <= top / SERVO_RATE_HZ


def test_an_action_that_is_not_finite_holds_the_arm() -> None:
    env = make_env(PICK)
    env.reset(seed=0)
    before = env.state.q_rad
    _, reward, _, _, info = env.step(np.full(5, np.nan, np.float32))
    assert info["interventions"] > 0
    assert np.isfinite(info["action"]).all() and np.isfinite(reward)
    assert np.allclose(before, env.state.q_rad, atol=1e-3)


def test_another_policy_rate_keeps_time_and_servo() -> None:
    env = make_env(PICK, policy_rate_hz=20.0)
    env.reset(seed=0)
    for _ in range(20):
        env.step(np.zeros(5, np.float32))
    assert env.world.time_s == pytest.approx(1.0)


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownName, match="known: floop/Pick-v0, floop/PickPlace-v0"):
        make_env("floop/Pick-v1")
    with pytest.raises(UnknownName, match="did you mean 'panda'"):
        make_env(PICK, robot="pandas")


def test_an_arm_without_a_simulated_gripper_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ur5e cannot be simulated: .*use panda"):
        make_env(PICK, robot="ur5e")


def test_an_image_shows_the_object() -> None:
    env = make_env(PICK, render_mode="rgb_array")
    env.reset(options={"scenario": scenarios(1)[1]})
    image = env.render()
    assert image is not None and image.shape[2] == 3 and image.dtype == np.uint8
    env.reset(options={"scenario": scenarios(1)[0]})
    other = env.render()
    assert other is not None and (image != other).any()


def test_an_image_shows_the_tote() -> None:
    env = make_env("floop/PickPlace-v0", render_mode="rgb_array")
    env.reset(seed=0)
    with_tote = env.render()
    env.close()
    plain = make_env(PICK, render_mode="rgb_array")
    assert env.scenario is not None
    plain.reset(options={"scenario": msgspec.structs.replace(env.scenario, task=PICK, tote_xy_m=None)})
    without = plain.render()
    plain.close()
    assert with_tote is not None and without is not None
    assert (with_tote != without).any()
    assert make_env(PICK).render() is None, "no image without a render mode"


def test_nothing_is_perceived_before_the_first_frame() -> None:
    perception = Perception()
    perception.start(scenarios(1)[0])
    assert perception.report(1.0) is None
