"""Parameters of a node keep within their range and words, also while it runs."""

from __future__ import annotations

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from floop_robot.ros.node.parameters import Parameter, Parameters
from floop_robot.spec.errors import ConfigError
from tests.support.ros.peer import Peer

TRIES = Parameter("tries", 3, "how often to try", low=1, high=5, read_only=False)
SPEED = Parameter("speed", 0.5, "how fast to go", low=0.1, high=1.0, read_only=False)
MODE = Parameter("mode", "slow", "how to go", choices=("slow", "fast"), read_only=False)


@pytest.fixture
def node(peer: Peer) -> Node:
    return peer.node


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


def test_a_bad_start_value_is_refused_in_one_line(node: Node) -> None:
    start = Parameter("mode", "sideways", "how to go", choices=MODE.choices)
    with pytest.raises(ConfigError, match="parameter mode is 'sideways'; use one of 'slow', 'fast'"):
        Parameters(node, (start,))
