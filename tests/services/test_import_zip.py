"""A zip becomes a bundle in another process, and every refusal is one line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from floop_robot.services.import_zip import ImportFailed, bundle_of_zip
from floop_robot.spec.config import FloopConfig

CONFIG = FloopConfig()


def refusal(path: Path, *, trust: bool = True) -> str:
    with pytest.raises(ImportFailed) as refused:
        bundle_of_zip(path, CONFIG, trust=trust)
    line = str(refused.value)
    assert "\n" not in line and str(path) in line
    return line


def test_a_zip_is_read_only_by_those_who_trust_it(tmp_path: Path) -> None:
    assert "give --trust" in refusal(tmp_path / "model.zip", trust=False)


def test_what_is_no_zip_is_refused_before_a_process_is_started(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.zip")
    assert "no regular file" in refusal(tmp_path)
    (tmp_path / "text.zip").write_text("no zip at all")
    assert "is no stable-baselines3 zip" in refusal(tmp_path / "text.zip")


def test_a_zip_without_a_model_is_refused_by_the_other_process(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("hello.txt", "hello")
    assert not refusal(tmp_path / "other.zip").startswith("import_zip: ")


def test_a_model_becomes_a_bundle_of_the_fleets_task(tmp_path: Path) -> None:
    from stable_baselines3 import SAC

    from floop_envs.env import make_env

    env = make_env(CONFIG.task)
    try:
        SAC("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, buffer_size=10).save(tmp_path / "model.zip")
    finally:
        env.close()
    bundle = bundle_of_zip(tmp_path / "model.zip", CONFIG, trust=True)
    assert (bundle.manifest.task, bundle.manifest.version) == (CONFIG.task, 0)
