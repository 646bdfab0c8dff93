"""Every test of the command line runs in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_in_process import Floop


@pytest.fixture
def floop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Floop:
    monkeypatch.chdir(tmp_path)
    return Floop(monkeypatch, capfd)
