"""A zip becomes a bundle in another process, and every refusal is one line."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest

from floop_robot.services.import_zip import ImportFailed, bundle_of_zip
from floop_robot.spec.config import FloopConfig

CONFIG = FloopConfig()


def refusal(path: Path, *, trust: bool = True) -> str:
    with pytest.raises(ImportFailed) as refused:
        bundle_of_zip(path, CONFIG.task, CONFIG.robot.model, trust=trust)
    line = str(refused.value)
    assert "\n" not in line and str(path) in line
    return line


def zip_of(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(name, "hello")


def test_a_zip_is_read_only_by_those_who_trust_it(tmp_path: Path) -> None:
    zip_of(tmp_path / "model.zip", "data", "policy.pth")
    assert "give --trust" in refusal(tmp_path / "model.zip", trust=False)


def test_what_is_no_zip_is_refused_before_a_process_is_started(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.zip")
    assert "no regular file" in refusal(tmp_path)
    (tmp_path / "text.zip").write_text("no zip at all")
    assert "is no stable-baselines3 zip" in refusal(tmp_path / "text.zip")


@pytest.mark.parametrize("trust", [True, False])
def test_a_zip_without_a_model_is_called_what_it_is(tmp_path: Path, trust: bool) -> None:
    zip_of(tmp_path / "weights.pt", "archive/data.pkl", "archive/data/0")
    zip_of(tmp_path / "other.zip", "hello.txt")
    zip_of(tmp_path / "older.zip", "data", "parameter_list", "parameters")
    assert "it is a zip of stable-baselines 2" in refusal(tmp_path / "older.zip", trust=trust)
    assert "it is a PyTorch file; weights alone do not say" in refusal(tmp_path / "weights.pt", trust=trust)
    assert "without a stable-baselines3 model (it holds hello.txt); " in refusal(tmp_path / "other.zip", trust=trust)


def test_a_model_that_is_none_is_refused_by_the_other_process(tmp_path: Path) -> None:
    zip_of(tmp_path / "other.zip", "data", "policy.pth")
    assert not refusal(tmp_path / "other.zip").startswith("import_zip: ")


class _Ends:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (7,)


def test_a_zip_that_ends_its_process_is_named(tmp_path: Path) -> None:
    entry = {":serialized:": base64.b64encode(pickle.dumps(_Ends())).decode()}
    data = {"policy_class": entry, "gae_lambda": 0.9, "n_epochs": 1, "clip_range": 0.2}
    with zipfile.ZipFile(tmp_path / "ends.zip", "w") as made:
        made.writestr("data", json.dumps(data))
        made.writestr("policy.pth", "")
    assert "ended the process that read it (status 7" in refusal(tmp_path / "ends.zip")


def test_statistics_that_are_not_there_are_named(tmp_path: Path) -> None:
    zip_of(tmp_path / "model.zip", "data", "policy.pth")
    with pytest.raises(ImportFailed, match=r"cannot read .*none\.pkl: no such file"):
        bundle_of_zip(tmp_path / "model.zip", CONFIG.task, "panda", trust=True, vecnormalize=tmp_path / "none.pkl")


def test_a_model_becomes_a_bundle_of_the_fleets_task(tmp_path: Path) -> None:
    from stable_baselines3 import SAC

    from floop_envs.env import make_env

    env = make_env(CONFIG.task)
    try:
        SAC("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, buffer_size=10).save(tmp_path / "model.zip")
    finally:
        env.close()
    bundle = bundle_of_zip(tmp_path / "model.zip", CONFIG.task, CONFIG.robot.model, trust=True)
    assert (bundle.manifest.task, bundle.manifest.version) == (CONFIG.task, 0)
