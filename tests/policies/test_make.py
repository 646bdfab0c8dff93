"""Making shipped policies again, with real trainings that are too short to learn anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from floop_policies import bundle_path, make
from floop_robot.bundle import Bundle
from floop_robot.learn.checkpoint import Checkpoint

TINY = {
    "task": "floop/Pick-v0", "demonstrations": 2, "total_timesteps": 0, "final_episodes": 2, "selection_episodes": 2,
    "prior_rows": 50, "sac": {"net_arch": [8, 8]}, "until_success": 1.0,
}  # fmt: skip


def recipe(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | changes), encoding="utf-8")
    return path


def test_a_policy_that_is_good_enough_is_written_with_its_checkpoint(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle, checkpoint = tmp_path / "baselines" / "tiny.floop", tmp_path / "baselines" / "tiny.learner"
    assert make.make(recipe(tmp_path), bundle, checkpoint, min_success=0.0)
    assert "tiny: success" in capfd.readouterr().out
    made = Bundle.load(bundle)
    made.checked_actor()
    assert made.manifest.task == "floop/Pick-v0"
    assert Checkpoint.load(checkpoint).info.known.classes


def test_a_policy_that_is_not_good_enough_changes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "tiny.floop"
    bundle.write_bytes(b"as it was")
    assert not make.make(recipe(tmp_path), bundle, tmp_path / "tiny.learner")
    assert "below 1.0, so" in capfd.readouterr().err
    assert bundle.read_bytes() == b"as it was"
    assert not (tmp_path / "tiny.learner").exists()


def test_a_recipe_that_cannot_be_trained_changes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "tiny.floop"
    assert not make.make(recipe(tmp_path, task="floop/Pick-v9"), bundle, tmp_path / "tiny.learner")
    errors = capfd.readouterr().err
    assert "known: floop/Pick-v0, floop/PickPlace-v0" in errors
    assert "tiny: floop train ended with status 2" in errors
    assert not bundle.exists()


def test_only_shipped_names_are_made(capfd: pytest.CaptureFixture[str]) -> None:
    before = bundle_path("pick").read_bytes()
    assert make.main(["pick", "pikc_place"]) == 2
    assert "unknown policy 'pikc_place' in the shipped policies; did you mean 'pick_place'" in capfd.readouterr().err
    assert bundle_path("pick").read_bytes() == before
