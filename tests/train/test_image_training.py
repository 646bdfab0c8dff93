"""Trainings on images: stable-baselines3's own networks, stopped, resumed and in several processes as any other."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from stable_baselines3 import PPO, SAC

from floop_robot.spec.errors import ConfigError, EnvironmentFailed, StorageError
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
from floop_robot.train.environments.checked_env import CheckedEnv
from floop_robot.train.environments.gym_training_env import GymTrainingEnv
from floop_robot.train.image_model import image_model
from floop_robot.train.recipe import config_of, read_recipe
from floop_robot.train.stop_signals import TrainingInterrupted
from floop_robot.train.train import _with_whole_episodes, resume, train
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_progress import TrainProgress
from floop_robot.train.training_state import load_state

ENV = "tests.support.odd_envs:Image-v0"
SHORT = {"final_episodes": 2, "selection_episodes": 2, "eval_freq": 400, "n_eval_episodes": 1}
SMALL = SacSettings(net_arch=(8,), batch_size=4, utd_ratio=0.5)


def config(out: Path, **more: object) -> TrainConfig:
    options = {**SHORT, "env": ENV, "out": str(out), "sac": SMALL, "learning_starts": 20, "total_timesteps": 60}
    return TrainConfig(**{**options, **more})  # type: ignore[arg-type]


def stop_at(steps: int, number: int = signal.SIGINT):  # type: ignore[no-untyped-def]
    def show(progress: TrainProgress) -> None:
        if progress.phase == "learning" and progress.transitions >= steps:
            signal.raise_signal(number)

    return show


def lengths(folder: Path) -> list[str]:
    return [line.split(",")[1] for line in (folder / "monitor.csv").read_text().splitlines()[2:]]


@pytest.fixture(autouse=True)
def nobody_handles_sigterm(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_a_stopped_training_goes_on_with_its_replay_and_its_weights(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted, match=f"model.zip; go on with floop train --resume {tmp_path}") as stopped:
        train(config(tmp_path, n_envs=2), stop_at(50, signal.SIGTERM))
    assert stopped.value.status == 143
    assert SAC.load(tmp_path / "model.zip") and SAC.load(tmp_path / "best_model.zip")
    state, _ = load_state(tmp_path / "training.state")
    done = state.counters.transitions
    with np.load(tmp_path / "training.rows") as rows:
        assert 40 <= done < 100 and done <= 2 * len(rows["rewards"]) <= done + 4
        saved = rows["observations"][:2]
    result = resume(tmp_path, total_timesteps=140)
    assert result.transitions == 140 and result.gradient_steps > state.gradient_steps > 0
    with np.load(tmp_path / "training.rows") as rows:
        assert len(rows["rewards"]) == 70 and (rows["observations"][1] == saved[1]).all(), "the first may be replaced"
    assert set(lengths(tmp_path)) == {"20"} and len(lengths(tmp_path)) >= 4
    with pytest.raises(ConfigError, match="used up its steps after 140 steps"):
        resume(tmp_path)
    (tmp_path / "training.rows").write_bytes((tmp_path / "training.rows").read_bytes()[:-3000])
    with pytest.raises(StorageError, match=r"training.rows is damaged .*train again"):
        resume(tmp_path, total_timesteps=200)


@pytest.mark.slow
def test_ppo_goes_on_too_and_makes_the_steps_that_were_asked_for(tmp_path: Path) -> None:
    ppo = PpoSettings(net_arch=(8,), n_steps=32, batch_size=16, n_epochs=1)
    options = {"algo": "ppo", "ppo": ppo, "sac": SacSettings(), "learning_starts": TrainConfig().learning_starts}
    result = train(config(tmp_path, **options))
    assert result.transitions == 60 and result.gradient_steps == 1, "one whole rollout of 32, and half of one"
    assert PPO.load(result.model)
    again = resume(tmp_path, total_timesteps=96)
    assert again.transitions >= 96 and again.gradient_steps > 1


def test_the_model_takes_what_the_environment_shows_and_the_recipe_what_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path / "left"))
    result = train(config(tmp_path / "run"))
    assert result.transitions == 60 and result.gradient_steps > 0 and result.bundle == ""
    assert not (tmp_path / "left").exists(), "stable-baselines3 makes a folder of its own unless told otherwise"
    env = CheckedEnv(ENV)
    action, _ = SAC.load(result.model, device="cpu").predict(env.reset(seed=0)[0])
    assert env.action_space.contains(action)
    recipe = read_recipe(tmp_path / "run" / "config.yaml")
    assert not {"prior_rows", "randomize", "clone", "task"} & recipe.keys()
    assert "value_range" not in recipe["sac"] and recipe["sac"]["tau"] == 0.01
    assert config_of(recipe, {}).eval_freq == 400


def test_what_info_holds_that_no_other_process_can_read_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env, seen = ENV.replace("Image-v0", "OddInfoImage-v0"), list[dict[str, object]]()

    def look(theirs: dict[str, Any], _: dict[str, Any]) -> bool:
        seen.extend(theirs["infos"])
        return True

    with caplog.at_level("INFO"):
        result = train(config(tmp_path, env=env, learning_starts=40, total_timesteps=41), callback=look)
    assert result.success == 1.0, "the evaluation's process, too"
    assert len(seen) == 41 and all(info["force"]["newton"] == 3.0 for info in seen)  # type: ignore[index]
    assert not any({"sim", "handles", "itself", "objects"} & info.keys() for info in seen)
    assert [info.get("is_success") for info in seen if "episode" in info] == [True, True]
    (named,) = (record.getMessage() for record in caplog.records if "in another process" in record.getMessage())
    assert all(key in named for key in ("sim'] (lock)", "handles'] (list)", "itself'] (list)", "objects'] (ndarray)"))


def test_a_setting_that_cannot_act_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sac.reward_scale is 0.1, but does nothing on images"):
        train(config(tmp_path, sac=SacSettings(reward_scale=0.1)))


def test_gradient_steps_are_those_of_the_ratio_for_any_number_of_environments(tmp_path: Path) -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv

    for ratio, envs in ((2.0, 1), (0.75, 3), (1.5, 2)):
        wanted = config(tmp_path, n_envs=envs, sac=SacSettings(net_arch=(8,), utd_ratio=ratio)).effective("cpu")
        made = image_model(wanted, DummyVecEnv([lambda: CheckedEnv(ENV)] * envs), has_goals=False, curves=None)
        assert isinstance(made, SAC)
        assert made.gradient_steps == ratio * made.train_freq.frequency * envs


def test_with_goals_the_first_gradient_step_comes_after_a_whole_episode(tmp_path: Path) -> None:
    said, plain = config(tmp_path, n_envs=2), config(tmp_path, n_envs=2, learning_starts=TrainConfig().learning_starts)
    description = GymTrainingEnv(ENV, 0).description
    assert _with_whole_episodes(said.effective("cpu"), said, description).learning_starts == 20, "it has no goals"
    goals = msgspec.structs.replace(description, has_goals=True)
    long = msgspec.structs.replace(goals, task=msgspec.structs.replace(goals.task, max_steps=80))
    assert _with_whole_episodes(plain.effective("cpu"), plain, long).learning_starts == 160
    with pytest.raises(ConfigError, match="learning_starts is 20, but HER on images needs 160"):
        _with_whole_episodes(said.effective("cpu"), said, long)


def test_a_lucky_score_keeps_no_later_one_from_being_confirmed(tmp_path: Path) -> None:
    env = ENV.replace("Image-v0", "LuckyImage-v0")
    result = train(config(tmp_path, env=env, eval_freq=20, total_timesteps=100, until_success=1.0, learning_starts=90))
    assert (result.transitions, result.selection_success) == (40, 1.0) and result.ended == "reached until_success 1"


def test_a_process_that_dies_is_one_line_and_the_training_goes_on(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed, match=r"SIGKILL.*best model so far is in .*go on with floop train --resume"):
        train(config(tmp_path, env="tests.support.odd_envs:DyingImage-v0", n_envs=2))
    assert SAC.load(tmp_path / "model.zip") and (tmp_path / "training.state").exists()


def test_rows_that_are_ahead_of_the_state_are_not_damaged(tmp_path: Path) -> None:
    rare = SacSettings(net_arch=(8,), batch_size=4, utd_ratio=0.03)  # so the stop comes within a rollout of 100 steps
    with pytest.raises(TrainingInterrupted):
        train(config(tmp_path, sac=rare, total_timesteps=200), stop_at(50))
    assert load_state(tmp_path / "training.state")[0].counters.transitions == 0
    with np.load(tmp_path / "training.rows") as rows:
        assert len(rows["rewards"]) >= 50
    assert resume(tmp_path, total_timesteps=40).transitions == 40
