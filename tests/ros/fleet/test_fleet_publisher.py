"""What fits no message costs nothing else its place: neither on the fleet's topics, nor in its lists."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces import msg, srv
from floop_robot.bundle.delivery import Heartbeat, Target
from floop_robot.deploy import FleetClient, FleetStatus
from floop_robot.deploy.messages import REPLIES, GetNews, Request
from floop_robot.deploy.registry import CandidateState, Registry
from floop_robot.ros.fleet.fleet_manager_node import FleetQueryServices
from floop_robot.ros.fleet.fleet_publisher import FleetPublisher
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import AUDIT, EVENTS, LATCHED
from floop_robot.spec.verdict import Decision
from floop_robot.transport.rpc_client import RpcClient
from tests.support.in_process_fleet import ManagerThread, verdict
from tests.support.ros.peer import Peer
from tests.support.sample_bundles import IDS, make_bundle


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerThread]:
    made = ManagerThread(tmp_path)
    yield made
    made.stop()


class Miscounting(FleetClient):
    """Counts of each robot what no message can hold, until a test sets `successes`."""

    successes = -1

    def status(self) -> FleetStatus:
        found = super().status()
        robots = tuple(msgspec.structs.replace(robot, successes=self.successes) for robot in found.robots)
        return msgspec.structs.replace(found, robots=robots)


def test_a_state_that_fits_no_message_is_published_as_soon_as_it_does(manager: ManagerThread, domain: int) -> None:
    with contextlib.ExitStack() as opened:
        peer = opened.enter_context(contextlib.closing(Peer(domain)))
        heard = peer.listen(msg.FleetState, topics.FLEET_STATE, LATCHED)
        client = opened.enter_context(Miscounting(manager.rpc))
        asker = opened.enter_context(RpcClient(manager.rpc, REPLIES))
        assert asker.try_ask(Heartbeat(robot="robot_1", boot_id="b", contract=IDS.contract, version=1), Target, 20)
        publisher = opened.enter_context(FleetPublisher(peer.node, client))
        wait_for(lambda: "cannot be published" in publisher.error, 20, "the fault")
        assert not heard
        client.successes = 0
        wait_for(lambda: heard and not publisher.error, 20, "the state")
        assert [robot.robot for robot in heard[-1].robots] == ["robot_1"]


@pytest.fixture
def old_registry(tmp_path: Path) -> None:
    """A registry that took in what is refused by now."""
    registry = Registry(tmp_path / "registry.sqlite")
    for seed in (1, -1, 3, 4):
        bundle = make_bundle(seed + 10)
        judged = verdict(bundle, decision=Decision.REJECTED, seed=seed)
        registry.submit(bundle, judged, CandidateState.REJECTED, "an old gate", time.time_ns())
        registry.note("anna", "noted", time.time_ns(), version=seed)
    registry.close()


class FromTheStart(FleetClient):
    """Takes what lies in the registry for news."""

    def ask(self, request: Request, kind: type[Any]) -> Any:
        if isinstance(request, GetNews):
            positions = max(request.audit_after, 0), max(request.candidates_after, 0)
            request = GetNews(audit_after=positions[0], candidates_after=positions[1])
        return super().ask(request, kind)


def test_what_comes_with_one_that_fits_no_message_is_published(
    old_registry: None, manager: ManagerThread, domain: int, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as opened:
        peer = opened.enter_context(contextlib.closing(Peer(domain)))
        verdicts = peer.listen(msg.GateVerdict, topics.FLEET_VERDICT, EVENTS)
        audit = peer.listen(msg.AuditEntry, topics.FLEET_AUDIT, AUDIT)
        states = peer.listen(msg.FleetState, topics.FLEET_STATE, LATCHED)
        publisher = FleetPublisher(peer.node, opened.enter_context(FromTheStart(manager.rpc)))
        for topic in (topics.FLEET_VERDICT, topics.FLEET_AUDIT):
            wait_for(lambda t=topic: peer.node.count_publishers(t) and peer.node.count_subscribers(t))
        with caplog.at_level(logging.WARNING):
            opened.enter_context(publisher)
            wait_for(lambda: states, what="the state, which is published last")
            wait_for(lambda: len(verdicts) >= 3 and [e.what for e in audit].count("noted") >= 3, what="the others")
    assert [each.seed for each in verdicts] == [1, 3, 4]
    assert [entry.version for entry in audit if entry.what == "noted"] == [1, 3, 4]
    assert [entry.version for entry in states[-1].audit if entry.what == "noted"] == [1, 3, 4]
    assert publisher.error == ""
    left_out = [record.message for record in caplog.records if "fits no message and is left out" in record.message]
    assert len(left_out) == 2 and "'version' field" in left_out[0] and "'seed' field" in left_out[1]


def test_a_list_is_answered_without_what_fits_no_message(
    old_registry: None, manager: ManagerThread, domain: int
) -> None:
    with contextlib.ExitStack() as opened:
        peer = opened.enter_context(contextlib.closing(Peer(domain)))
        questions = FleetQueryServices(peer.node, opened.enter_context(FleetClient(manager.rpc)))
        answer = peer.call(srv.ListPolicies, topics.LIST_POLICIES, srv.ListPolicies.Request(with_verdicts=True))
        assert [each.seed for each in answer.verdicts] == [1, 3, 4]
        assert answer.success and "1 entries fit no message" in answer.message
        del questions
