"""Where shipped files are found: checkout, installation, colcon workspace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from floop_robot.spec import resources
from floop_robot.spec.errors import FloopError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that lies below PREFIX/lib, with no `config` folder beside it yet."""
    package = tmp_path / "prefix" / "lib" / "python3" / "site-packages" / "floop_robot"
    (package / "spec").mkdir(parents=True)
    monkeypatch.setattr(resources, "__file__", str(package / "spec" / "resources.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return tmp_path


def test_a_checkout_is_its_own_share_folder() -> None:
    assert (resources.share_dir() / "config" / "robots" / "panda.yaml").is_file()


def test_the_prefix_of_python_comes_before_prefixes_above_the_package(installed: Path) -> None:
    for prefix in ("prefix", "venv"):
        (installed / prefix / "share" / "floop_robot" / "config" / "robots").mkdir(parents=True)
        assert resources.share_dir() == installed / prefix / "share" / "floop_robot"


def test_without_one_the_line_says_what_to_do(installed: Path) -> None:
    with pytest.raises(FloopError, match=r"not found in .*site-packages or .*floop_robot; reinstall floop-robot"):
        resources.share_dir()
