"""Parameters of a node keep within their range and words, also while it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from floop_robot.ros.node.parameters import Parameter, Parameters
from floop_robot.services.supervision.ros_domain import reserved_domain
from floop_robot.spec.errors import ConfigError, UnknownName
from tests.support.ros.peer import Peer

TRIES = Parameter("tries", 3, "how often to try", low=1, high=5, live=True)
SPEED = Parameter("speed", 0.5, "how fast to go", low=0.1, high=1.0, live=True)
MODE = Parameter("mode", "slow", "how to go", choices=("slow", "fast"), live=True)


@pytest.fixture
def node(peer: Peer) -> Node:
    return peer.node


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    """One DDS participant for all the nodes that only declare."""
    found = Context()
    with reserved_domain() as number:
        rclpy.init(context=found, domain_id=number)
        yield found
        rclpy.shutdown(context=found)


@pytest.fixture
def lone(context: Context) -> Iterator[Node]:
    """A node that nobody spins."""
    found = Node("lone", context=context, enable_rosout=False)
    yield found
    found.destroy_node()


def test_a_range_of_whole_numbers_is_shown_and_kept(node: Node) -> None:
    parameters = Parameters(node, (TRIES, SPEED))
    limits = node.describe_parameter("tries").integer_range[0]
    assert (limits.from_value, limits.to_value) == (1, 5)
    assert node.describe_parameter("speed").floating_point_range[0].to_value == 1.0
    accepted = [node.set_parameters([RosParameter("tries", value=value)])[0].successful for value in (4, 6)]
    assert accepted == [True, False]
    assert parameters.get(TRIES) == 4


def test_a_word_that_is_none_of_its_choices_is_refused_while_the_node_runs(node: Node) -> None:
    parameters = Parameters(node, (TRIES, MODE))
    refused = node.set_parameters([RosParameter("mode", value="backwards")])[0]
    assert (refused.successful, refused.reason) == (False, "mode is 'backwards'; use one of 'slow', 'fast'")
    assert parameters.get(MODE) == "slow"
    assert node.set_parameters([RosParameter("mode", value="fast")])[0].successful
    assert parameters.get(MODE) == "fast"


def test_one_bad_value_keeps_all_that_come_with_it_out(node: Node) -> None:
    parameters = Parameters(node, (TRIES, MODE))
    given = [RosParameter("tries", value=5), RosParameter("mode", value="backwards")]
    assert not node.set_parameters_atomically(given).successful
    assert (parameters.get(TRIES), parameters.get(MODE)) == (3, "slow")


def test_parameters_of_others_are_none_of_its_business(node: Node) -> None:
    Parameters(node, (MODE,))
    node.declare_parameter("another", "word")
    assert node.set_parameters([RosParameter("another", value="backwards")])[0].successful


FIXED = Parameter("robot", "robot_1", "which robot")
SWITCH = Parameter("simulated", False, "no real arm")
BAD_STARTS = (
    (MODE, "sideways", "mode is 'sideways'; use one of 'slow', 'fast'"),
    (MODE, 3, "mode is 3; use one of 'slow', 'fast'"),
    (TRIES, 6, "tries is 6; use a whole number from 1 to 5"),
    (TRIES, 2.0, "tries is 2.0; use a whole number from 1 to 5"),
    (SPEED, 2.0, "speed is 2.0; use a number from 0.1 to 1"),
    (SPEED, float("nan"), "speed is nan; use a number from 0.1 to 1"),
    (SPEED, float("inf"), "speed is inf; use a number from 0.1 to 1"),
    (SPEED, "fast", "speed is 'fast'; use a number from 0.1 to 1"),
    (SPEED, True, "speed is True; use a number from 0.1 to 1"),
    (FIXED, 7, "robot is 7; use a text"),
    (SWITCH, "yes", "simulated is 'yes'; use true or false"),
)


def started(node: Node, parameter: Parameter[Any], value: Any) -> Parameters:
    """As if the command line had this value."""
    node._parameter_overrides[parameter.name] = RosParameter(parameter.name, value=value)
    return Parameters(node, (parameter,))


@pytest.mark.parametrize(("parameter", "value", "refusal"), BAD_STARTS, ids=lambda each: str(each)[:30])
def test_a_bad_start_value_is_refused_in_one_line(
    lone: Node, parameter: Parameter[Any], value: Any, refusal: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{lone.get_fully_qualified_name()}: parameter {refusal}")):
        started(lone, parameter, value)


def test_a_whole_number_will_do_where_a_number_is_wanted(lone: Node) -> None:
    assert started(lone, SPEED, 1).get(SPEED) == 1.0


def test_a_name_that_the_node_does_not_have_is_refused_with_the_nearest_one(lone: Node) -> None:
    lone._parameter_overrides["spede"] = RosParameter("spede", value=0.5)
    with pytest.raises(UnknownName, match="unknown parameter 'spede' in /lone; did you mean 'speed'"):
        Parameters(lone, (SPEED, MODE))


def test_what_is_meant_for_another_node_and_what_ros_declares_is_none_of_its_business(lone: Node) -> None:
    for name in ("spede", "use_sim_time", "qos_overrides./clock.subscription.depth"):
        lone._parameter_overrides[name] = RosParameter(name, value=1)
    Parameters(lone, (SPEED,), ignored={"spede"})


def test_a_change_takes_effect_or_is_refused_by_name(lone: Node) -> None:
    changes: list[float] = []
    parameters = Parameters(lone, (SPEED, FIXED), on_change=lambda: changes.append(parameters.get(SPEED)))
    results = [
        lone.set_parameters([RosParameter(name, value=value)])[0]
        for name, value in (("speed", 0.7), ("robot", "robot_2"), ("speed", float("nan")), ("robot", "robot_1"))
    ]
    assert [r.successful for r in results] == [True, False, False, True]
    assert results[1].reason == "robot needs a restart: give it at the start of the node"
    assert (changes[0], parameters.get(SPEED), parameters.get(FIXED)) == (0.7, 0.7, "robot_1")
