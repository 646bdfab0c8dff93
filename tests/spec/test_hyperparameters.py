"""Hyper-parameters: a fleet's and a recipe's are one struct, and mistakes in them are refused in one line."""

from pathlib import Path

import msgspec
import pytest

from floop_robot.spec.config import load_config
from floop_robot.spec.default_settings import FLEET_SAC, TASK_SAC
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
from floop_robot.spec.yaml_file import convert


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "floop.yaml"
    file.write_text("learner:\n  sac: {gamma: 0.9, ent_coef: 0.05, value_range: null}\n")
    said = load_config(file).learner.settings
    assert said == SacSettings(gamma=0.9, ent_coef=0.05, value_range=None)
    assert isinstance(said, SacSettings)
    laid = said.over(FLEET_SAC.over(TASK_SAC))
    assert (laid.gamma, laid.value_range, laid.imitation_weight, laid.batch_size) == (
        0.9,
        None,
        2.0,
        TASK_SAC.batch_size,
    )


def test_settings_that_are_not_complete_are_refused_by_name() -> None:
    assert TASK_SAC.complete("defaults") is TASK_SAC
    with pytest.raises(ConfigError, match="the file lacks gamma; say"):
        msgspec.structs.replace(TASK_SAC, gamma=msgspec.UNSET).complete("the file")


def test_the_chosen_algorithm_decides_which_settings_count(tmp_path: Path) -> None:
    file = tmp_path / "floop.yaml"
    file.write_text("learner: {algo: ppo, ppo: {n_epochs: 4, batch_size: 32}}\n")
    settings = load_config(file).learner.settings
    assert settings == PpoSettings(n_epochs=4, batch_size=32)
    assert settings.utd_ratio == 4 / 32


@pytest.mark.parametrize("coefficient", ["auto", "auto_0.1", "auto_1e-3", "auto_2", 0, 0.3])
def test_an_entropy_coefficient_is_learned_or_fixed(coefficient: object) -> None:
    assert convert({"ent_coef": coefficient}, SacSettings, "recipe").ent_coef == coefficient


@pytest.mark.parametrize("coefficient", ["auto_0", "auto_", "automatic", "auto_-1", -0.1, None])
def test_other_entropy_coefficients_are_refused(coefficient: object) -> None:
    with pytest.raises(ConfigError, match="recipe: ent_coef"):
        convert({"ent_coef": coefficient}, SacSettings, "recipe")


def test_a_typo_names_the_nearest_key(tmp_path: Path) -> None:
    file = tmp_path / "floop.yaml"
    file.write_text("learner: {sac: {learning_rat: 0.1}}\n")
    with pytest.raises(ConfigError, match="learning_rate") as refused:
        load_config(file)
    assert str(file) in str(refused.value) and "learner.sac" in str(refused.value)
