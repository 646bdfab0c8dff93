"""Stops and resets of a whole fleet: no reset undoes a stop that came after it, and none takes effect late."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.node import Node
from rclpy.task import Future

from floop_interfaces import msg, srv
from floop_robot.deploy import RequestQueue
from floop_robot.robot.ipc import link_folder
from floop_robot.ros.fleet.estop_monitor import CHANGED_SINCE, SILENT
from floop_robot.ros.fleet.fleet_estop import ENDING, FleetEstop
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS, LATCHED
from floop_robot.ros.safety.estop_service import DONE, GIVEN_BEFORE, NOT_NOW, NOT_ON_DISK
from tests.support.in_process_fleet import Hanging, ManagerThread
from tests.support.operator_tokens import TOKEN, WHO
from tests.support.ros.fleet_rig import FleetRig
from tests.support.ros.peer import Peer, Spun

ROBOTS = ("robot_1", "robot_2")
N = TypeVar("N", bound=Node)


class Stops:
    """A fleet manager, safety nodes, and what is heard of their latches."""

    def __init__(self, fleet: FleetRig) -> None:
        self.fleet, peer = fleet, fleet.peer
        fleet.start_manager()
        self.heard = {r: peer.listen(msg.EstopState, f"/{r}/{topics.ESTOP_STATE}", LATCHED) for r in ROBOTS}
        self.button = peer.node.create_publisher(msg.StopRequest, f"/robot_1/{topics.ESTOP}", EVENTS)

    def start(self, *robots: str) -> Any:
        """Start safety nodes; the last one."""
        before = {r: len(self.heard[r]) for r in robots}
        node = [self.fleet.start("safety_node", f"/{r}") for r in robots][-1]
        wait_for(lambda: all(len(self.heard[r]) > before[r] for r in robots), 30.0, "the safety nodes")
        return node

    def latched(self, robot: str) -> bool:
        return bool(self.heard[robot][-1].latched)

    def stop_all(self) -> None:
        stop = {"stop": True, "who": "visitor"}
        wait_for(lambda: self.fleet.ask(srv.SetEstop, topics.FLEET_SET_ESTOP, **stop).success, 40.0, "all stopped")
        wait_for(lambda: all(self.latched(r) for r in ROBOTS))

    def reset(self, *robots: str) -> Any:
        """The future answer to a reset."""
        request = srv.SetEstop.Request(stop=False, who=WHO, token=TOKEN, robots=robots)
        return self.fleet.peer.send(srv.SetEstop, topics.FLEET_SET_ESTOP, request)

    def said_since(self, robot: str, count: int) -> list[bool]:
        """The next `count` times that a robot says how its latch is."""
        before = len(self.heard[robot])
        wait_for(lambda: len(self.heard[robot]) >= before + count, 20.0, f"{count} more words of {robot}")
        return [state.latched for state in self.heard[robot][before:]]


class Silent(Node):
    """A robot that says that it is stopped, and answers no reset."""

    def __init__(self, context: Context) -> None:
        super().__init__("silent", context=context)
        self.asked = 0
        state = self.create_publisher(msg.EstopState, f"/robot_1/{topics.ESTOP_STATE}", LATCHED)
        self.create_timer(0.1, lambda: state.publish(msg.EstopState(latched=True, stop_id=1, seal=7)))
        group = ReentrantCallbackGroup()
        self.create_service(srv.SetEstop, f"/robot_1/{topics.SET_ESTOP}", self._ask, callback_group=group)

    async def _ask(self, _: srv.SetEstop.Request, answer: srv.SetEstop.Response) -> srv.SetEstop.Response:
        self.asked += 1
        await Future()
        return answer


class Ending(Node):
    """A robot whose first word to each stop is that it has not obeyed, and its second that it has."""

    def __init__(self, context: Context) -> None:
        super().__init__("ending", context=context)
        self._asked: set[str] = set()
        self.create_service(srv.SetEstop, f"/robot_1/{topics.SET_ESTOP}", self._ask)

    def _ask(self, request: srv.SetEstop.Request, answer: srv.SetEstop.Response) -> srv.SetEstop.Response:
        answer.success = request.why in self._asked
        self._asked.add(request.why)
        answer.message = f"robot_1 {DONE[True]}" if answer.success else f"robot_1 {NOT_NOW}"
        return answer


@contextmanager
def asking(
    domain: int, kind: Callable[[Context], N], requests: RequestQueue | None = None
) -> Iterator[tuple[Peer, N, FleetEstop]]:
    """`/fleet/set_estop` of a fleet whose one robot is a `kind`; without `requests`, who audits is away."""
    nobody = RequestQueue()
    with (
        closing(Peer(domain)) as peer,
        closing(Spun(peer.context, kind)) as robot,
        closing(Spun(peer.context, lambda context: Node("asking", context=context))) as node,
        closing(nobody),
        closing(FleetEstop(peer.node, node.node, ["robot_1"], requests or nobody)) as stop,
    ):
        yield peer, robot.node, stop


@pytest.fixture
def stops(tmp_path: Path, domain: int) -> Iterator[Stops]:
    rig = FleetRig(tmp_path, domain)
    try:
        yield Stops(rig)
    finally:
        rig.close()


def test_a_robot_that_gets_its_reset_late_stays_stopped(stops: Stops) -> None:
    stops.start("robot_2")
    frozen = stops.start("robot_1")
    stops.stop_all()
    frozen.process.send_signal(signal.SIGSTOP)
    answer = stops.fleet.peer.result(stops.reset())
    assert not answer.success
    assert answer.message == "reset robot_2; robot_1 did not answer"
    frozen.process.send_signal(signal.SIGCONT)
    assert set(stops.said_since("robot_1", 4)) == {True}
    again = stops.fleet.order(srv.SetEstop, topics.FLEET_SET_ESTOP, stop=False, robots=["robot_1"])
    assert again.success, again.message
    wait_for(lambda: not stops.latched("robot_1"))


def test_a_stop_on_a_topic_ends_a_reset_that_still_waits_for_its_robot(stops: Stops) -> None:
    stops.start("robot_2")
    killed = stops.start("robot_1")
    stops.stop_all()
    killed.kill()
    is_reset = stops.reset("robot_1")

    def pressed() -> bool:
        stops.button.publish(msg.StopRequest(who="bob"))  # again and again: the first may be there before the reset
        return bool(is_reset.done())

    wait_for(pressed)
    answer = stops.fleet.peer.result(is_reset)
    assert answer.message == f"reset none; robot_1 {CHANGED_SINCE}"
    stops.start("robot_1")
    assert set(stops.said_since("robot_1", 3)) == {True}


def test_a_reset_is_about_what_was_heard_of_a_robot_when_it_was_asked_for(stops: Stops) -> None:
    stops.start("robot_2")
    killed = stops.start("robot_1")
    stops.stop_all()
    killed.kill()
    waits = stops.reset("robot_1")
    again = stops.start("robot_1")  # stopped still, in a process that this reset does not know
    assert not stops.fleet.peer.result(waits).success
    again.kill()
    ask = {"stop": False, "robots": ["robot_1"]}
    wait_for(lambda: SILENT in stops.fleet.order(srv.SetEstop, topics.FLEET_SET_ESTOP, **ask).message, 20.0, "silence")
    stops.start("robot_1")
    assert set(stops.said_since("robot_1", 3)) == {True}
    wait_for(lambda: stops.fleet.order(srv.SetEstop, topics.FLEET_SET_ESTOP, **ask).success)
    wait_for(lambda: not stops.latched("robot_1"))


def test_a_robot_that_is_named_twice_is_one_robot(stops: Stops) -> None:
    stops.start(*ROBOTS)
    stops.stop_all()
    wait_for(lambda: stops.fleet.order(srv.SetEstop, topics.FLEET_SET_ESTOP, stop=False).success, 20.0, "all reset")
    stopped = stops.fleet.ask(srv.SetEstop, topics.FLEET_SET_ESTOP, stop=True, robots=["robot_1", "robot_1"])
    assert stopped.message == "stopped robot_1"
    assert set(stops.said_since("robot_2", 3)) == {False}


def test_what_a_robot_could_not_store_is_answered_with_what_it_did(stops: Stops) -> None:
    stops.start(*ROBOTS)
    stops.stop_all()
    wait_for(lambda: stops.fleet.order(srv.SetEstop, topics.FLEET_SET_ESTOP, stop=False).success, 20.0, "all reset")
    latch = link_folder(Path(stops.fleet.config.run_dir), "robot_1") / "stopped"
    latch.mkdir()  # neither written nor removed
    worry = f"robot_1 {DONE[True]}, but {NOT_ON_DISK[True]}"
    stopped = stops.fleet.ask(srv.SetEstop, topics.FLEET_SET_ESTOP, stop=True, who="visitor")
    assert stopped.success
    assert stopped.message == f"stopped robot_1, robot_2; {worry}"
    assert any(worry in entry.detail for entry in stops.fleet.state().audit)

    def reset() -> Any:
        """Once robot_1 has answered each time that it was asked to stop while its disk took its time."""
        answer = stops.fleet.order(srv.SetEstop, topics.FLEET_SET_ESTOP, stop=False)
        return answer if answer.success else None

    is_reset = wait_for(reset)
    assert is_reset.message == f"reset robot_1, robot_2; robot_1 {DONE[False]}, but {NOT_ON_DISK[False]}"


def test_a_reset_repeated_to_the_fleet_opens_no_later_stop_of_a_robot_that_was_started_again(stops: Stops) -> None:
    stops.start("robot_2")
    first = stops.start("robot_1")
    stops.stop_all()

    def reset(call_id: str) -> Any:
        call = {"stop": False, "robots": ["robot_1"], "call_id": call_id}
        return stops.fleet.order(srv.SetEstop, topics.FLEET_SET_ESTOP, **call)

    def is_reset() -> str:
        """The id of a reset: once the robot was heard, and has answered each time that it was asked to stop."""
        call_id = next(ids)
        return call_id if reset(call_id).success else ""

    ids = map(str, itertools.count())
    given = wait_for(is_reset)
    wait_for(lambda: stops.fleet.ask(srv.SetEstop, topics.FLEET_SET_ESTOP, stop=True, who="bob").success)
    first.kill()
    stops.start("robot_1")
    refused = f"reset none; robot_1: robot_1 stays stopped: {GIVEN_BEFORE}"
    wait_for(lambda: reset(given).message == refused, what="a refusal of the robot itself")
    assert set(stops.said_since("robot_1", 3)) == {True}
    wait_for(lambda: reset(next(ids)).success)


def test_a_reset_that_was_refused_is_refused_when_it_is_repeated_too(stops: Stops) -> None:
    def reset(call_id: str) -> Any:
        call = {"stop": False, "robots": ["robot_1"], "call_id": call_id}
        return stops.fleet.order(srv.SetEstop, topics.FLEET_SET_ESTOP, **call)

    first = reset("a").message
    assert first == f"reset none; robot_1 {SILENT}"
    stops.start(*ROBOTS)
    stops.stop_all()
    ids = map(str, itertools.count())
    wait_for(lambda: reset(next(ids)).success)
    wait_for(lambda: stops.fleet.ask(srv.SetEstop, topics.FLEET_SET_ESTOP, stop=True, who="bob").success)
    assert reset("a").message == first
    assert set(stops.said_since("robot_1", 3)) == {True}


def test_a_reset_repeated_before_it_is_answered_gets_its_answer(domain: int) -> None:
    with asking(domain, Silent) as (peer, robot, _):
        ids = map(str, itertools.count())

        def send(call_id: str) -> Any:
            reset = srv.SetEstop.Request(stop=False, who=WHO, call_id=call_id)
            return peer.send(srv.SetEstop, topics.FLEET_SET_ESTOP, reset)

        def asked() -> str:
            """The id of a reset that reached the robot, which may not be heard yet."""
            before, call_id = robot.asked, next(ids)
            first = send(call_id)
            wait_for(lambda: first.done() or robot.asked > before)
            return "" if first.done() else call_id

        call_id = wait_for(asked)
        again = [send(call_id) for _ in range(3)]
        first = {peer.result(each).message for each in again}
        assert first == {"reset none; robot_1 did not answer"}
        assert peer.result(send(call_id)).message in first
        assert robot.asked <= 2  # once more after a second, by the first call alone


def test_a_stop_that_a_robot_has_not_obeyed_is_asked_for_again(domain: int) -> None:
    with asking(domain, Ending) as (peer, _, _):
        reasons = map(str, itertools.count())

        def stopped() -> Any:
            """The node that asks may not have found the robot yet."""
            call = srv.SetEstop.Request(stop=True, who=WHO, why=next(reasons))
            answer = peer.call(srv.SetEstop, topics.FLEET_SET_ESTOP, call)
            return answer if answer.success else None

        assert wait_for(stopped).message == "stopped robot_1"


def test_a_fleet_manager_that_ends_asks_no_robot_for_a_reset_any_more(domain: int) -> None:
    answers: list[Any] = []
    with asking(domain, Silent) as (peer, robot, stop):

        def asked_twice() -> bool:
            if not answers or answers[-1].done():  # the robot was not heard yet
                reset = srv.SetEstop.Request(stop=False, who=WHO)
                answers.append(peer.send(srv.SetEstop, topics.FLEET_SET_ESTOP, reset))
            return robot.asked >= 2

        wait_for(asked_twice)
        before = robot.asked
        stop.close()
        assert peer.result(answers[-1]).message == ENDING
        assert robot.asked <= before + 1  # one may have been on its way


def test_a_reset_keeps_no_stop_waiting_and_ends_with_it(stops: Stops) -> None:
    heard = stops.fleet.peer.listen(msg.StopRequest, f"/robot_2/{topics.ESTOP}", EVENTS)
    safety = [stops.start(robot) for robot in ROBOTS]
    stops.stop_all()
    wait_for(lambda: heard)
    for node in safety:
        node.kill()  # each call waits in vain
    heard.clear()
    is_reset = stops.reset(*ROBOTS)
    request = srv.SetEstop.Request(stop=True, who="visitor", robots=["robot_2"])
    stopped = stops.fleet.peer.send(srv.SetEstop, topics.FLEET_SET_ESTOP, request)
    wait_for(lambda: heard or is_reset.done())
    assert heard and not is_reset.done()
    answer = stops.fleet.peer.result(is_reset)
    assert answer.message == f"reset none; robot_1 did not answer; robot_2 {CHANGED_SINCE}"
    assert stops.fleet.peer.result(stopped).message == "stopped none; robot_2 did not answer"


def test_a_stop_is_audited_also_by_a_fleet_manager_that_was_busy(tmp_path: Path, domain: int) -> None:
    manager = ManagerThread(tmp_path)
    try:
        with asking(domain, Ending, manager.requests) as (peer, _, _):
            with Hanging(manager):
                call = srv.SetEstop.Request(stop=True, who=WHO, why="a hand in the tote")
                answer = peer.call(srv.SetEstop, topics.FLEET_SET_ESTOP, call)
                assert (answer.record.who, answer.record.epoch) == (WHO, 0)  # nobody has audited it yet
            with manager.client() as client:
                entry = wait_for(lambda: next((e for e in client.status().audit if e.who == WHO), None))
        assert (entry.what, "a hand in the tote" in entry.detail) == (answer.record.what, True)
    finally:
        manager.stop()
