"""The fleet manager's queue: requests of its own process beside those by ZeroMQ, and waiting for robots."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import FetchPolicy, Heartbeat, PolicyDelivery, Refusal
from floop_robot.deploy import CommandResult, FleetStatus, Hold, Pin, Push, RequestQueue, Unreachable
from floop_robot.deploy.convergence import Convergence
from floop_robot.deploy.messages import GetFleetStatus, GetRobots, Robots
from floop_robot.deploy.registry import FLEET
from floop_robot.deploy.request_queue import MAX_QUEUED
from tests.support.in_process_fleet import Hanging, ManagerThread, OperatorClient
from tests.support.sample_bundles import IDS, make_bundle
from tests.support.waiting import wait_for


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerThread]:
    made = ManagerThread(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def operator(manager: ManagerThread) -> Iterator[OperatorClient]:
    with manager.client("ann") as client:
        yield client


def beat(acting: int) -> Heartbeat:
    return Heartbeat(robot="robot_1", boot_id="b", contract=IDS.contract, version=acting, acting=acting)


def acting(done: CommandResult, scope: str = FLEET) -> Convergence:
    return Convergence(Push(who="ann", scope=scope), done)


def test_both_doors_lead_to_the_same_fleet_manager(manager: ManagerThread) -> None:
    inside = manager.requests.submit
    pushed = inside(Push(who="ann", bundle=make_bundle(1).to_bytes())).result(20)
    assert isinstance(pushed, CommandResult) and pushed.version == 2
    with manager.client("bob") as outside:
        assert outside.pin(FLEET, 1).version == 3
        status, delivered = inside(GetFleetStatus()).result(20), inside(FetchPolicy(version=3)).result(20)
        assert isinstance(status, FleetStatus) and status.audit == outside.status().audit
        assert isinstance(delivered, PolicyDelivery)
        assert Bundle.from_bytes(delivered.bundle, "v3").manifest.sha256 == outside.fetch(1).manifest.sha256


def test_requests_of_many_threads_are_all_answered(manager: ManagerThread) -> None:
    with ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(lambda _: manager.requests.submit(GetRobots()), range(200)))
    assert all(isinstance(future.result(20), Robots) for future in futures)


def test_a_request_that_was_given_up_before_its_turn_is_never_carried_out(manager: ManagerThread) -> None:
    hanging = Hanging(manager)
    future = manager.requests.submit(Pin(who="ann", scope=FLEET, version=1))
    with pytest.raises(TimeoutError):
        future.result(0.2)
    assert future.cancel()
    hanging.end()
    with manager.client() as client:
        assert not client.status().fleet.hold


def test_a_command_under_way_may_have_been_carried_out(manager: ManagerThread) -> None:
    hangs, goes_on = threading.Event(), threading.Event()
    requests = RequestQueue()

    def answer(_: object) -> Refusal:
        hangs.set()
        goes_on.wait()
        return Refusal(reason="late")

    serving = threading.Thread(target=lambda: wait_for(lambda: requests.serve_one(answer)))
    serving.start()
    future = requests.submit(Hold(who="ann", scope=FLEET))
    assert hangs.wait(20) and not future.cancel() and not future.done()
    goes_on.set()
    serving.join()
    assert future.result(0) == Refusal(reason="late")
    requests.close()
    hanging = Hanging(manager)  # what was sent by ZeroMQ may be on its way as well
    with (
        OperatorClient(manager.rpc, "ann", timeout_s=0.5) as client,
        pytest.raises(Unreachable, match=r"did not answer .* not known whether this command was carried out"),
    ):
        client.hold(FLEET)
    hanging.end()


def test_a_full_queue_refuses_and_a_closed_one_cancels() -> None:
    requests = RequestQueue()
    futures = [requests.submit(GetFleetStatus()) for _ in range(MAX_QUEUED)]
    assert requests.room == 0
    refused = requests.submit(GetFleetStatus()).result(0)
    assert isinstance(refused, Refusal) and "call again later" in refused.reason
    requests.close()
    assert all(future.cancelled() for future in futures)
    assert requests.submit(GetFleetStatus()).cancelled()
    requests.close()


def test_an_error_of_the_fleet_manager_reaches_whoever_asked() -> None:
    requests = RequestQueue()
    future = requests.submit(GetFleetStatus())

    def fail(_: object) -> Refusal:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        requests.serve_one(fail)
    with pytest.raises(ZeroDivisionError):
        future.result(0)
    assert not requests.serve_one(fail)
    requests.close()


def test_what_waits_when_the_fleet_manager_ends_is_cancelled(manager: ManagerThread) -> None:
    hanging = Hanging(manager)
    future = manager.requests.submit(Hold(who="ann", scope=FLEET))
    manager.stopping.set()
    hanging.end()
    manager.stop()
    with pytest.raises(CancelledError):
        future.result(20)


def test_whoever_waits_is_answered_when_robots_are_there_or_time_is_over(
    manager: ManagerThread, operator: OperatorClient
) -> None:
    requests, client = manager.requests, operator
    requests.submit(beat(1)).result(20)
    pinned = client.pin("robot_1", 1)
    assert client.wait_for(acting(pinned), 20.0).reached == ("robot_1",)
    pushed = client.push(make_bundle(1), scope="robot_1")
    assert client.wait_for(acting(pushed, "robot_1"), 0.0).pending == ("robot_1",)
    assert client.wait_for(acting(pushed, "robot_1"), 0.2).pending == ("robot_1",)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait_for, acting(pushed, "robot_1"), 60.0)
        requests.submit(beat(pushed.version)).result(20)
        assert waiting.result(20).reached == ("robot_1",)


def test_nobody_waits_for_a_robot_that_is_silent(manager: ManagerThread, operator: OperatorClient) -> None:
    requests, client = manager.requests, operator
    requests.submit(beat(1)).result(20)
    pushed = client.push(make_bundle(1))
    wait_for(lambda: client.robots().robots[0].silent_s > 3.0)
    began_s = time.monotonic()
    assert client.wait_for(acting(pushed), 60.0).silent == ("robot_1",)
    assert time.monotonic() - began_s < 20.0
