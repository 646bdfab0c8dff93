"""Hints at what is not installed: commands that work without a package index."""

from __future__ import annotations

import importlib.metadata

import pytest

from floop_robot.spec.extras import EXTRAS, install_hint


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_a_hint_names_an_extra_of_the_checkout(module: str, extra: str) -> None:
    assert extra in (importlib.metadata.metadata("floop_robot").get_all("Provides-Extra") or [])
    assert install_hint(f"{module}.part") == f'in the checkout, run `pip install ".[{extra}]"`'


def test_of_other_modules_nothing_is_said() -> None:
    assert install_hint("nonsense") is None
