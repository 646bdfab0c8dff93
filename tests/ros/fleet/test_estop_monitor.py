"""The fleet manager counts the stops of others, and no reset goes out after one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces.msg import EstopState, StopRequest
from floop_robot.ros.fleet import estop_monitor
from floop_robot.ros.fleet.estop_monitor import CHANGED_SINCE, SILENT, EstopMonitor, EstopSnapshot
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS, LATCHED
from floop_robot.ros.node.stamps import header
from tests.support.ros.peer import Peer

ROBOT, OTHER = "robot_1", "robot_2"


class Stops:
    """Two robots as a fleet manager hears them."""

    def __init__(self, peer: Peer) -> None:
        self.monitor = EstopMonitor(peer.node, (ROBOT, OTHER))
        self.one = peer.node.create_publisher(StopRequest, f"/{ROBOT}/{topics.ESTOP}", EVENTS)
        self.all = peer.node.create_publisher(StopRequest, topics.FLEET_ESTOP, EVENTS)
        self._states = peer.node.create_publisher(EstopState, f"/{ROBOT}/{topics.ESTOP_STATE}", LATCHED)
        for publisher in (self.one, self.all, self._states):
            wait_for(lambda p=publisher: p.get_subscription_count() == 1, what="the monitor's subscription")

    @property
    def snapshot(self) -> EstopSnapshot:
        return self.monitor.take_snapshot((ROBOT,))[ROBOT]

    @property
    def counts(self) -> list[int]:
        return [each.stops for each in self.monitor.take_snapshot((ROBOT, OTHER)).values()]

    def say(self, stop_id: int, nonce: int) -> EstopSnapshot:
        """Have the robot publish its state; what is known once it is heard."""
        self._states.publish(EstopState(robot=ROBOT, latched=True, stop_id=stop_id, seal=nonce))
        wait_for(lambda: self.snapshot.stop_id == stop_id, what="the state")
        return self.snapshot

    def reset(self, snapshot: EstopSnapshot) -> tuple[str, list[int]]:
        """Why not, and the nonces that were sent."""
        sent: list[int] = []
        call: Callable[[int], None] = sent.append
        return self.monitor.reset(ROBOT, snapshot, call), sent


@pytest.fixture
def stops(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Stops:
    monkeypatch.setattr(estop_monitor, "NONCE_LIFETIME_S", 60.0)  # however busy the cores are
    return Stops(peer)


def test_a_reset_names_the_state_that_was_heard(stops: Stops) -> None:
    assert stops.reset(stops.snapshot) == (SILENT, [])
    assert stops.reset(stops.say(stop_id=3, nonce=71)) == ("", [71])


def test_a_stop_by_somebody_else_voids_a_reset(stops: Stops) -> None:
    asked = stops.say(stop_id=3, nonce=71)
    stops.one.publish(StopRequest(header=header(), who="anna"))
    wait_for(lambda: stops.counts == [1, 0], what="the stop of one robot")
    assert stops.reset(asked) == (CHANGED_SINCE, [])
    asked = stops.snapshot
    stops.all.publish(StopRequest(header=header(), who="anna"))
    wait_for(lambda: stops.counts == [2, 1], what="the stop of all")
    assert stops.reset(asked) == (CHANGED_SINCE, [])


def test_a_state_that_names_another_stop_voids_a_reset(stops: Stops) -> None:
    asked = stops.say(stop_id=3, nonce=71)
    now = stops.say(stop_id=4, nonce=72)
    assert stops.reset(asked) == (CHANGED_SINCE, [])
    assert stops.reset(now) == ("", [72])


def test_a_stop_of_its_own_counts_once(stops: Stops) -> None:
    own, foreign = StopRequest(header=header(), who="fleet"), StopRequest(header=header(), who="anna")
    stops.monitor.count_stop((ROBOT,), own)
    stops.one.publish(own)
    stops.one.publish(foreign)  # arrives after it
    wait_for(lambda: stops.counts[0] >= 2, what="the other stop")
    stops.all.publish(foreign)
    wait_for(lambda: stops.counts[1] == 1, what="the stop of all")
    assert stops.counts == [3, 1]


def test_a_robot_that_fell_silent_since_is_sent_nothing(stops: Stops, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stops.say(stop_id=3, nonce=71)
    monkeypatch.setattr(estop_monitor, "NONCE_LIFETIME_S", 0.0)
    assert stops.reset(asked) == ("", [])
