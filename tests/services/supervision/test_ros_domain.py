"""A domain of its own for every fleet, and an environment in which ROS wheels start."""

from __future__ import annotations

import socket

import pytest

from floop_robot.services.supervision.ros_domain import (
    LAST_DOMAIN,
    MAX_ROBOTS,
    check_robots,
    child_environment,
    discovery_range,
    local_environment,
    local_only_environment,
    reserved_domain,
)
from floop_robot.spec.errors import ConfigError

GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def test_two_fleets_get_two_domains_and_one_comes_back_when_its_fleet_has_gone() -> None:
    with reserved_domain() as first:
        with reserved_domain() as second:
            assert first != second
            assert 0 < min(first, second) <= max(first, second) <= LAST_DOMAIN
        with reserved_domain() as third:
            assert third == second


@pytest.mark.parametrize("number", [0, 1, 31])
def test_a_domain_in_which_somebody_speaks_already_is_left_alone(number: int) -> None:
    with reserved_domain() as free:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("0.0.0.0", 7400 + 250 * free + 10 + 2 * number))  # where DDS puts participant `number`
        with reserved_domain() as other:
            assert other != free


def test_both_variables_of_the_wheels_or_neither() -> None:
    assert child_environment({GUARD: "1", "A": "b"}) == {"A": "b"}
    both = {GUARD: "1", "LD_LIBRARY_PATH": "/x"}
    assert child_environment(both) == both


def test_a_fleet_stays_on_this_machine_unless_the_environment_says_how_far_it_may_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert local_environment(7)["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert local_environment(7)["ROS_DOMAIN_ID"] == "7"
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE" not in local_only_environment()


def test_more_robots_than_discovery_reaches_are_refused() -> None:
    check_robots(MAX_ROBOTS)
    with pytest.raises(ConfigError, match="--no-ros"):
        check_robots(MAX_ROBOTS + 1)


@pytest.mark.parametrize(
    ("only", "asked", "means"),
    [
        ("", "", "SUBNET"),
        ("1", "", "LOCALHOST"),
        ("1", "SUBNET", "LOCALHOST"),
        ("0", "OFF", "OFF"),
        ("true", "SYSTEM_DEFAULT", "SYSTEM_DEFAULT"),
        ("", "localhost", "LOCALHOST"),
    ],
)
def test_the_range_of_discovery_is_what_ros_makes_of_the_environment(only: str, asked: str, means: str) -> None:
    environment = {"ROS_LOCALHOST_ONLY": only, "ROS_AUTOMATIC_DISCOVERY_RANGE": asked}
    assert discovery_range(environment) == means
    assert discovery_range({name: value for name, value in environment.items() if value}) == means
