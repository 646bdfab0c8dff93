"""`floop demo` says how its fleet speaks before it is started, and nothing about it when there will be no fleet."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

import floop_policies
from floop_envs import shifts
from floop_robot.cli.demo import ros_domain
from floop_robot.services.supervision.ros_domain import MAX_ROBOTS, ros_unavailable_reason
from tests.support.cli_in_process import Floop


@pytest.mark.skipif(ros_unavailable_reason() != "", reason="needs rclpy and floop_interfaces: `make setup-ros`")
def test_with_ros_it_says_how_to_look_at_the_topics(capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        domain = ros_domain(4, False, stack)
    [line] = capsys.readouterr().err.splitlines()
    assert domain is not None
    assert f"ROS_DOMAIN_ID={domain} " in line
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST" in line


def test_where_it_runs_without_ros_though_it_might_not_it_says_why_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ExitStack() as stack:
        assert ros_domain(MAX_ROBOTS + 1, False, stack) is None
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("the fleet runs without ROS: ")
    assert (ros_unavailable_reason() or f"reaches {MAX_ROBOTS} robots") in line


def test_who_asked_for_no_ros_hears_nothing_about_it(capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        assert ros_domain(MAX_ROBOTS + 1, True, stack) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("robots", [4, MAX_ROBOTS + 1])
def test_a_mistake_is_said_before_anything_about_the_fleet(robots: int, floop: Floop, tmp_path: Path) -> None:
    options = "--headless", "--robots", str(robots)
    assert "did you mean 'new-object'?" in floop("demo", *options, "--shift", "new-objct").error
    assert "no-such.floop" in floop("demo", *options, "--baseline", tmp_path / "no-such.floop").error


def test_a_task_without_a_shipped_policy_is_refused_before_anything_starts(
    floop: Floop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(floop_policies.NAMES, ("floop/PickPlace-v0", "ppo"))
    error = floop("demo", "--headless", "--task", "floop/PickPlace-v0", "--report", tmp_path / "new" / "r.json").error
    assert "no policy of ppo is shipped for task 'floop/PickPlace-v0' (only for floop/Pick-v0 (ppo), " in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", ["floop/Pick-v0", "floop/PickPlace-v0"])
def test_a_shift_to_objects_without_a_model_is_refused_before_anything_starts(
    task: str, floop: Floop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = shifts.WorldShift("odd", "objects that nobody drew", shifts._of_class("teapot"))
    monkeypatch.setattr(shifts, "SHIFTS", (*shifts.SHIFTS, odd))
    error = floop("demo", "--headless", "--task", task, "--shift", "odd").error
    assert "unknown object class 'teapot' in the model catalog" in error
    assert not list(tmp_path.iterdir())
