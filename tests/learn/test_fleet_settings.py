"""Settings travel with a checkpoint; a fleet tells in one line what it changes, and refuses what it doesn't know."""

from pathlib import Path

import msgspec
import pytest

from floop_policies import checkpoint_path
from floop_robot.learn.checkpoint import Checkpoint, CheckpointInfo
from floop_robot.learn.fleet_settings import fleet_settings
from floop_robot.services.learner import build_algorithm
from floop_robot.spec.config import FloopConfig, LearnerConfig, load_config
from floop_robot.spec.default_settings import FLEET_SAC, TASK_PPO, TASK_SAC
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import AlgorithmSettings, PpoSettings, SacSettings
from floop_robot.spec.ids import Ids
from floop_robot.spec.tasks import get_task

TRAINED = SacSettings(gamma=0.9, learning_rate=3e-4, net_arch=(8, 8), imitation_weight=1.0).over(TASK_SAC)


def info(settings: AlgorithmSettings | None = TRAINED, **changes: object) -> CheckpointInfo:
    carried = msgspec.to_builtins(settings) if settings else {}
    return CheckpointInfo(
        task="floop/Pick-v0", ids=Ids("c", "l", "r"), algo="sac", hidden=(8, 8), settings=carried | changes
    )


def test_a_fleet_acts_with_what_the_checkpoint_carries_and_tells_what_it_changes() -> None:
    learner = LearnerConfig(sac=SacSettings(gamma=0.95, ent_coef=TRAINED.ent_coef))
    found = fleet_settings(learner, info(), "x.learner", resume=False)
    assert found.settings == SacSettings(gamma=0.95).over(FLEET_SAC.over(TRAINED))
    assert found.told == (
        "settings of x.learner: as it carries them; floop.yaml changes gamma: 0.9 -> 0.95; a fleet changes tau: 0.01 "
        "-> 0.02, imitation_weight: 1.0 -> 2.0, actor_uses_target_critics: false -> true, settled_lr_factor: 1.0 -> 0.3"
    )


def test_what_a_file_says_comes_before_what_a_fleet_sets() -> None:
    learner = LearnerConfig(sac=SacSettings(imitation_weight=8.0))
    found = fleet_settings(learner, info(), "x.learner", resume=False)
    assert isinstance(found.settings, SacSettings) and found.settings.imitation_weight == 8.0
    assert "floop.yaml changes imitation_weight: 1.0 -> 8.0; a fleet changes tau: 0.01 -> 0.02" in found.told


def test_a_resumed_learner_keeps_what_it_had() -> None:
    found = fleet_settings(LearnerConfig(), info(), "x.learner", resume=True)
    assert found.settings == TRAINED
    assert found.told == "settings of x.learner: as it carries them"


def test_an_earlier_checkpoint_gets_the_documented_defaults_and_says_so() -> None:
    found = fleet_settings(LearnerConfig(), info(None), "x.learner", resume=True)
    assert found.settings == SacSettings(net_arch=(8, 8)).over(FLEET_SAC.over(TASK_SAC))
    assert "it carries none, so the defaults of floop's own tasks" in found.told


def test_unknown_and_missing_settings_are_refused_in_one_line() -> None:
    for changed, says in (
        (info(gama=0.9), "unknown field 'gama' in settings of x.learner"),
        (info(gamma=7.0), "settings of x.learner: gamma: expected a number <= 1.0"),
    ):
        with pytest.raises(ConfigError, match=says) as refused:
            fleet_settings(LearnerConfig(), changed, "x.learner", resume=False)
        assert "\n" not in str(refused.value)
    part = info()
    del part.settings["gamma"]
    with pytest.raises(ConfigError, match=r"not complete; set learner\.sac\.gamma in floop\.yaml"):
        fleet_settings(LearnerConfig(), part, "x.learner", resume=False)
    assert fleet_settings(LearnerConfig(sac=SacSettings(gamma=0.9)), part, "x.learner", resume=False)


def test_networks_of_another_shape_are_refused() -> None:
    learner = LearnerConfig(sac=SacSettings(net_arch=(32, 32)))
    with pytest.raises(ConfigError, match=r"learner\.sac\.net_arch is \[32, 32\], but the checkpoint has \[8, 8\]"):
        fleet_settings(learner, info(), "x.learner", resume=False)


def test_ppo_settings_travel_too() -> None:
    trained = PpoSettings(n_steps=256, net_arch=(8, 8)).over(TASK_PPO)
    carried = msgspec.structs.replace(info(trained), algo="ppo")
    found = fleet_settings(LearnerConfig(algo="ppo", ppo=PpoSettings(n_epochs=3)), carried, "x", resume=True)
    assert found.settings == PpoSettings(n_epochs=3).over(trained)


@pytest.mark.parametrize("name", ["pick", "pick_place"])
def test_fleets_of_shipped_checkpoints_act_with_these(name: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(checkpoint_path(name))
    config = FloopConfig(task=checkpoint.info.task, run_dir=str(tmp_path))
    algorithm = build_algorithm(config, get_task(checkpoint.info.task).spec, checkpoint, resume=False)
    assert msgspec.to_builtins(algorithm.settings) == {
        "net_arch": (64, 64), "learning_rate": 1e-3, "gamma": 0.97, "tau": 0.02, "batch_size": 256,
        "ent_coef": "auto_0.1", "target_entropy": "auto", "value_range": (-8.0, 12.0), "reward_scale": 0.2,
        "average_steps": 500, "prior_fraction": 0.5, "rare_fraction": 0.5, "imitation_weight": 2.0,
        "actor_uses_target_critics": True, "settled_lr_factor": 0.3, "utd_ratio": 2.0, "utd_ratio_known": 0.25,
        "buffer_size": 50_000, "n_sampled_goal": 4,
    }  # fmt: skip


def test_an_empty_file_says_nothing_of_settings(tmp_path: Path) -> None:
    (tmp_path / "floop.yaml").write_text("learner: {algo: sac}\n")
    assert load_config(tmp_path / "floop.yaml").learner.settings == SacSettings()
