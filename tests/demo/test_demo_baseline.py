"""A demo starts only where its learner can go on: from a bundle with its checkpoint, with the same algorithm."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from floop_policies import baseline, checkpoint_path
from floop_robot.demo.run import algo_of
from floop_robot.spec.errors import ConfigError, FloopError

TASK = "floop/Pick-v0"


def test_the_shipped_policy_of_an_algorithm_is_taken() -> None:
    assert algo_of(TASK, None, None) == "ppo"
    assert algo_of(TASK, None, "sac") == "sac"
    with pytest.raises(ConfigError, match="no policy of ppo is shipped for task 'floop/Other-v0'"):
        algo_of("floop/Other-v0", None, "ppo")


def test_a_bundle_tells_its_own_algorithm(tmp_path: Path) -> None:
    mine = tmp_path / "mine.floop"
    shutil.copyfile(baseline(TASK, "ppo"), mine)
    with pytest.raises(ConfigError, match=r"mine.learner is not there"):
        algo_of(TASK, mine, None)
    shutil.copyfile(checkpoint_path("pick_ppo"), mine.with_suffix(".learner"))
    assert algo_of(TASK, mine, None) == "ppo"
    with pytest.raises(ConfigError, match="was trained with ppo, but the fleet learns with sac"):
        algo_of(TASK, mine, "sac")


def test_a_zip_has_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as made:
        made.writestr("data", "{}")
    with pytest.raises(FloopError, match="holds a policy and no learner's checkpoint"):
        algo_of(TASK, tmp_path / "model.zip", None)
