"""`floop check bundle` tells what a policy is, and whether it would act here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from floop_policies import baseline
from floop_robot.bundle import Bundle
from tests.support.cli_in_process import Floop
from tests.support.sample_bundles import TASK, make_bundle


def test_a_bundle_is_described(floop: Floop) -> None:
    found = floop("check", "bundle", str(baseline("floop/Pick-v0")))
    assert found.status == 0
    for words in (
        "a floop bundle for floop/Pick-v0",
        "trained: with sac",
        "certificate: none",
        "8 stored observations",
    ):
        assert words in found.out


def test_a_zip_is_described_or_refused(floop: Floop, tmp_path: Path) -> None:
    from floop_robot.learn.export import save_zip
    from floop_robot.learn.factory import build_ppo
    from floop_robot.learn.spaces import PolicySpace
    from floop_robot.spec.hyperparameters import PpoSettings
    from floop_robot.spec.tasks import get_task

    space = PolicySpace.of(get_task("floop/Pick-v0").spec)
    save_zip(build_ppo(space, PpoSettings(net_arch=(8,)), 0), space, tmp_path / "model.zip")
    assert "--trust" in floop("check", "bundle", "model.zip").error
    found = floop("check", "bundle", "model.zip", "--trust", "--json")
    assert found.status == 0, found.err
    assert "a stable-baselines3 zip of PPO for floop/Pick-v0" in json.loads(found.out)["notes"][0]
    other = floop("check", "bundle", "model.zip", "--trust", "--task", "floop/PickPlace-v0")
    assert "its observations have shape (37,), floop/PickPlace-v0 has 42 numbers" in other.error
    assert floop("import", "model.zip", "--trust").status == 0
    assert Bundle.load(tmp_path / "model.floop").manifest.algo == "ppo"
    assert "model.floop exists; give another --out" in floop("import", "model.zip", "--trust").error


def test_wrong_files_are_one_line(floop: Floop, tmp_path: Path) -> None:
    good = make_bundle()
    altered = np.array(good.arrays()["mean.bias"]) + 0.5
    (tmp_path / "folder").mkdir()
    (tmp_path / "page.zip").write_text("<html>404</html>")
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "cut.floop").write_bytes(good.to_bytes()[:-40])
    other = Bundle.build(
        task=TASK, ids=good.manifest.ids, algo="sac", architecture=good.manifest.architecture,
        tensors=good.arrays() | {"mean.bias": altered}, observations=np.zeros((1, 6)),
    )  # fmt: skip
    Bundle(other.manifest, good.tensors).save(tmp_path / "swapped.floop")
    for name, says in (
        ("folder", "it is a folder"),
        ("page.zip", "is no policy bundle"),
        ("empty.zip", "is no policy bundle: it is empty"),
        ("cut.floop", "no whole policy bundle"),
        ("swapped.floop", "other tensors"),
        ("none.floop", "No such file"),
    ):
        assert says in floop("check", "bundle", name).error


def test_statistics_go_with_zips_only(floop: Floop) -> None:
    found = floop("check", "bundle", str(baseline("floop/Pick-v0")), "--vecnormalize", "statistics.pkl")
    assert "goes with a stable-baselines3 zip" in found.error


def test_a_task_of_another_floop_is_only_described(floop: Floop, tmp_path: Path) -> None:
    make_bundle().save(tmp_path / "other.floop")
    found = floop("check", "bundle", "other.floop")
    assert found.status == 0
    assert "test/Reach-v0 is no task of this floop" in found.out
