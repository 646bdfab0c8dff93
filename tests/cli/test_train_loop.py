"""`floop train --loop` runs the whole loop and leaves the policy that is in production at its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from floop_robot.bundle import Bundle
from tests.support.cli_in_process import Floop


@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_the_loop_runs_from_the_command_line(algo: str, floop: Floop, tmp_path: Path) -> None:
    found = floop("train", "--loop", "--algo", algo, "--seconds", "2", "--out", "looped", "--json")
    assert found.status == 0, found.err
    summary = json.loads(found.out.splitlines()[-1])
    assert summary["seconds"] == 2
    assert 0.0 <= summary["success"] <= 1.0
    assert summary["transitions"] > 300
    assert summary["wall_s"] > 0.0
    assert {"mean_return", "tti_s"} <= summary.keys()
    assert summary["no_improvement"]
    bundle = Bundle.load(tmp_path / summary["bundle"])
    bundle.checked_actor()
    assert bundle.manifest.algo == algo


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("train --loop --env Pendulum-v1", "--env can't be used with --loop"),
        ("train --loop --demonstrations 3", "--demonstrations can't be used with --loop"),
        ("train --shift new-object", "--shift can't be used without --loop"),
        ("train --loop --shift new-objekt", "did you mean 'new-object'?"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(floop: Floop, command: str, says: str) -> None:
    assert says in floop(*command.split()).error
