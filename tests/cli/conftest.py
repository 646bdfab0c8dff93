"""Every test of the command line runs in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.cli import which_fleet
from tests.support.cli_in_process import Floop


@pytest.fixture
def floop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Floop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(which_fleet, "STARTING_S", 0.0)
    return Floop(monkeypatch, capfd)
