"""`floop demo` says how its fleet speaks, before anything is started: a shift that does not exist ends it there."""

from __future__ import annotations

import pytest

from floop_robot.processes.ros_domain import MOST_ROBOTS, why_no_ros
from tests.cli.running import Floop

MISTAKE = ("--headless", "--shift", "no-such-shift")


@pytest.mark.skipif(why_no_ros() != "", reason="needs rclpy and floop_interfaces: `make setup-ros`")
def test_with_ros_it_says_how_to_look_at_the_topics(floop: Floop) -> None:
    found = floop("demo", *MISTAKE)
    first, _ = found.err.splitlines()
    assert "ROS_DOMAIN_ID=" in first
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST" in first


def test_where_it_runs_without_ros_though_it_might_not_it_says_why_in_one_line(floop: Floop) -> None:
    found = floop("demo", "--robots", str(MOST_ROBOTS + 1), *MISTAKE)
    first, error = found.err.splitlines()
    assert first.startswith("the fleet runs without ROS: ")
    assert (why_no_ros() or f"reaches {MOST_ROBOTS} robots") in first
    assert "unknown shift" in error


def test_who_asked_for_no_ros_hears_nothing_about_it(floop: Floop) -> None:
    assert "unknown shift" in floop("demo", "--no-ros", *MISTAKE).error
